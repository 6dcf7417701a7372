package cpu

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// heads is the layout of one attention block.
type heads struct {
	compute.Heads
	ch, t  int // channels of a head, tokens
	tp, t8 int // tokens rounded up to 16 and to 8
	c8     int // channels rounded up to 8
	scale  float32
}

// headsOf is the layout of a block with the output out.
func headsOf(out compute.Tensor, h compute.Heads) heads {
	t, ch := out.H*out.W, out.C/h.Count
	return heads{Heads: h, ch: ch, t: t, tp: ceil(t, 16) * 16, t8: ceil(t, 8) * 8, c8: ceil(ch, 8) * 8,
		scale: float32(1 / math.Sqrt(float64(ch)))}
}

// qkv is the parts of an image that belong to one head, each [ch][t].
func (h *heads) qkv(x compute.Tensor, n, head int) (q, k, v []float32) {
	step, gap := 3*h.ch, h.ch
	if h.Split {
		step, gap = h.ch, h.Count*h.ch
	}
	all, size := image(x, n), h.ch*h.t
	at := func(c int) []float32 { return all[c*h.t:][:size] }
	return at(head * step), at(head*step + gap), at(head*step + 2*gap)
}

// width is the columns of a task: at most 48, the blocks of about equal width.
func (h *heads) width() int {
	units := h.tp / 16
	return ceil(units, ceil(units, 3)) * 16
}

// Attention implements [compute.Nonlinear].
func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h) {
		d.attend(dst, h, []compute.Tensor{x})
	}
}

// AttentionTangent implements [compute.Nonlinear].
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a) {
		d.attend(dst, h, []compute.Tensor{x, a})
	}
}

// AttentionSecond implements [compute.Nonlinear].
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a, b, ab) {
		d.attend(dst, h, []compute.Tensor{x, a, b, ab})
	}
}

// attend computes the attention's highest derivative: of one input the value, of
// x and a the tangent, of x, a, b and ab the second. Input m is the derivative
// by the directions that are the bits of m, and every product differentiates as
//
//	(K·Q)_m = Σ_{u ⊆ m} K_u · Q_{m∖u}.
//
// Scores are held transposed, S[s][t], so that the softmax runs down columns.
func (d *Device) attend(dst compute.Tensor, layout compute.Heads, xs []compute.Tensor) {
	h := headsOf(dst, layout)
	top := len(xs) - 1
	kSize, vSize := h.t8*h.ch, h.c8*h.t
	each := kSize + vSize + h.ch*h.tp
	stage := d.staged(dst.N * h.Count * len(xs) * each)
	part := func(i, u int) (k, v, q []float32) {
		s := stage[(i*len(xs)+u)*each:][:each]
		return s[:kSize], s[kSize : kSize+vSize], s[kSize+vSize:]
	}
	d.parallel(dst.N*h.Count*len(xs), func(_ *worker, j int) {
		i, u := j/len(xs), j%len(xs)
		q, k, v := h.qkv(xs[u], i/h.Count, i%h.Count)
		kp, vp, qp := part(i, u)
		packColumns(kp, k, h.t, h.ch, h.scale)
		packRows(vp, v, h.ch, h.t, h.t)
		pad(qp, q, h.ch, h.t, h.tp)
	})
	width := h.width()
	blocks := ceil(h.tp, width)
	d.parallel(dst.N*h.Count*blocks, func(w *worker, i int) {
		i, t := i/blocks, i%blocks*width
		cols := min(width, h.tp-t)
		size := h.t8 * cols
		scratch := w.floats(len(xs)*size + h.c8*cols + 2*cols)
		s := make([][]float32, len(xs), 4)
		for m := range s {
			s[m], scratch = scratch[:size:size], scratch[size:]
			subsets(m, func(u, rest int) {
				k, _, _ := part(i, u)
				_, _, q := part(i, rest)
				d.k.gemm(s[m], cols, k, h.t, q[t:], h.tp, h.ch, cols, u != m)
			})
			s[m] = s[m][:h.t*cols]
		}
		out, stat := scratch[:h.c8*cols], scratch[h.c8*cols:]
		d.softmaxDerivatives(s, stat, h.t, cols)
		subsets(top, func(u, rest int) {
			_, v, _ := part(i, u)
			d.k.gemm(out, cols, v, h.ch, s[rest], cols, h.t, cols, u != top)
		})
		to := image(dst, i/h.Count)[i%h.Count*h.ch*h.t:]
		for c := range h.ch {
			copy(to[c*h.t+t:c*h.t+min(t+cols, h.t)], out[c*cols:])
		}
	})
}

// subsets calls f for every split of the bits of m in two parts, the first with
// all of them first.
func subsets(m int, f func(u, rest int)) {
	for u := m; u >= 0; u-- {
		if u&^m == 0 {
			f(u, m&^u)
		}
	}
}

// softmaxDerivatives turns columns of scores S_m into those of P_m:
// P_a = P∘L_a and P_ab = P∘(L_a L_b + S_ab − ⟨P, L_a L_b + S_ab⟩) with
// L_a = S_a − ⟨P, S_a⟩.
func (d *Device) softmaxDerivatives(s [][]float32, stat []float32, rows, cols int) {
	d.k.softmax(s[0], stat, stat[cols:], rows, cols)
	for m := 1; m < len(s); m++ {
		if m == 3 {
			d.k.fma(s[3], s[1], s[2])
		}
		d.k.centre(s[m], s[0], stat, rows, cols)
	}
	for m := 1; m < len(s); m++ {
		d.k.mul(s[m], s[m], s[0])
	}
}

// AttentionAdjoint implements [compute.Nonlinear]. With dP = Vᵀ dO and
// dS = P∘(dP − D), D = ⟨P, dP⟩: dQ = K dS, dK = Q dSᵀ, dV = dO Pᵀ. A first pass
// over blocks of t gives dQ, log-sums and D; a second over blocks of s computes
// P and dS again, the other way round, for dK and dV (Dao, FlashAttention-2).
func (d *Device) AttentionAdjoint(dx, x, dy compute.Tensor, layout compute.Heads, accumulate bool) {
	if !d.AttentionAdjointFits(dx, x, dy, layout) {
		return
	}
	h := headsOf(dy, layout)
	rowsT, rowsC, wide := h.t8*h.ch, h.c8*h.t, h.ch*h.tp
	each := 4*rowsT + 3*rowsC + 4*wide + 3*h.tp
	stage := d.staged(dy.N * h.Count * each)
	part := func(i int) *adjointParts {
		s := stage[i*each:][:each]
		cut := func(n int) (c []float32) { c, s = s[:n:n], s[n:]; return c }
		return &adjointParts{
			cut(rowsT), cut(rowsT), cut(rowsT), cut(rowsT), cut(rowsC), cut(rowsC), cut(rowsC),
			cut(wide), cut(wide), cut(wide), cut(wide), cut(h.tp), cut(h.tp), cut(h.tp),
		}
	}
	d.parallel(dy.N*h.Count, func(_ *worker, i int) {
		q, k, v := h.qkv(x, i/h.Count, i%h.Count)
		o := image(dy, i/h.Count)[i%h.Count*h.ch*h.t:][:h.ch*h.t]
		p := part(i)
		for _, m := range []struct {
			rowsT, rowsC, wide, src []float32
			scale                   float32
		}{{p.qT, p.qC, p.q, q, h.scale}, {p.kT, p.kC, p.k, k, h.scale}, {p.vT, nil, p.v, v, 1}, {p.oT, p.oC, p.o, o, 1}} {
			packColumns(m.rowsT, m.src, h.t, h.ch, m.scale)
			if m.rowsC != nil {
				packRows(m.rowsC, m.src, h.ch, h.t, h.t)
			}
			pad(m.wide, m.src, h.ch, h.t, h.tp)
		}
	})
	width := h.width()
	blocks := ceil(h.tp, width)
	pass := func(f func(w *worker, i, t, cols int, p *adjointParts, scores, grads, out []float32)) {
		d.parallel(dy.N*h.Count*blocks, func(w *worker, i int) {
			i, t := i/blocks, i%blocks*width
			cols := min(width, h.tp-t)
			s := w.floats((2*h.t8 + h.c8) * cols)
			f(w, i, t, cols, part(i), s[:h.t8*cols], s[h.t8*cols:2*h.t8*cols], s[2*h.t8*cols:])
		})
	}
	store := func(w *worker, to, out []float32, t, cols int, scale float32) {
		w.act = act{m: scale, p: scale, q: 1}
		for c := range h.ch {
			row := to[c*h.t+t : c*h.t+min(t+cols, h.t)]
			if accumulate {
				d.k.linear(row, row, out[c*cols:][:len(row)], &w.act, false)
			} else {
				d.k.affine(row, out[c*cols:][:len(row)], &w.act)
			}
		}
	}
	pass(func(w *worker, i, t, cols int, p *adjointParts, scores, grads, out []float32) {
		d.k.gemm(scores, cols, p.kT, h.t, p.q[t:], h.tp, h.ch, cols, false)
		d.k.softmax(scores, p.top[t:t+cols], p.sum[t:t+cols], h.t, cols)
		d.k.gemm(grads, cols, p.vT, h.t, p.o[t:], h.tp, h.ch, cols, false)
		d.k.centre(grads, scores, p.mean[t:t+cols], h.t, cols)
		d.k.mul(grads[:h.t*cols], grads[:h.t*cols], scores[:h.t*cols])
		d.k.gemm(out, cols, p.kC, h.ch, grads, cols, h.t, cols, false)
		q, _, _ := h.qkv(dx, i/h.Count, i%h.Count)
		store(w, q, out, t, cols, h.scale)
	})
	pass(func(w *worker, i, s, cols int, p *adjointParts, scores, grads, out []float32) {
		d.k.gemm(scores, cols, p.qT, h.t, p.k[s:], h.tp, h.ch, cols, false)
		d.k.gemm(grads, cols, p.oT, h.t, p.v[s:], h.tp, h.ch, cols, false)
		for t := range h.t {
			row := scores[t*cols : (t+1)*cols]
			d.k.exp(row, row, 1, -p.top[t]-float32(math.Log(float64(p.sum[t]))))
			w.act = act{mu: p.mean[t], m: 1}
			d.k.affine(grads[t*cols:(t+1)*cols], grads[t*cols:(t+1)*cols], &w.act)
		}
		d.k.mul(grads[:h.t*cols], grads[:h.t*cols], scores[:h.t*cols])
		_, dk, dv := h.qkv(dx, i/h.Count, i%h.Count)
		d.k.gemm(out, cols, p.oC, h.ch, scores, cols, h.t, cols, false)
		store(w, dv, out, s, cols, 1)
		d.k.gemm(out, cols, p.qC, h.ch, grads, cols, h.t, cols, false)
		store(w, dk, out, s, cols, h.scale)
	})
}

// adjointParts is the packed operands of one head: rows of tokens, rows of
// channels, and as they are.
type adjointParts struct {
	qT, kT, vT, oT []float32
	qC, kC, oC     []float32
	q, k, v, o     []float32
	top, sum, mean []float32
}
