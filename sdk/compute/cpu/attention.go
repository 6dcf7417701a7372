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

// attentionCall is an attention block, or its adjoint, being run.
type attentionCall struct {
	heads
	dst        compute.Tensor
	xs         [4]compute.Tensor // of the value and its derivatives: x, a, b, ab
	inputs     int               // how many of them
	accumulate bool
	width      int // columns of a task
	blocks     int // tasks of a head
	each       int // packed values of a head's input
	stage      []float32
}

// Attention implements [compute.Nonlinear].
func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h) {
		d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x}, inputs: 1}, h)
	}
}

// AttentionTangent implements [compute.Nonlinear].
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a) {
		d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x, a}, inputs: 2}, h)
	}
}

// AttentionSecond implements [compute.Nonlinear].
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a, b, ab) {
		d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x, a, b, ab}, inputs: 4}, h)
	}
}

// attend computes the attention's highest derivative: of one input the value, of
// x and a the tangent, of x, a, b and ab the second. Input m is the derivative
// by the directions that are the bits of m, and every product differentiates as
//
//	(K·Q)_m = Σ_{u ⊆ m} K_u · Q_{m∖u}.
//
// Scores are held transposed, S[s][t], so that the softmax runs down columns.
func (d *Device) attend(c attentionCall, layout compute.Heads) {
	c.heads = headsOf(c.dst, layout)
	c.each = c.t8*c.ch + c.c8*c.t + c.ch*c.tp
	c.width = c.heads.width()
	c.blocks = ceil(c.tp, c.width)
	c.stage = d.staged(c.dst.N * c.Count * c.inputs * c.each)
	d.attention = c
	d.parallel(c.dst.N*c.Count*c.inputs, func(d *Device, _ *worker, j int) {
		c := &d.attention
		i, u := j/c.inputs, j%c.inputs
		q, k, v := c.qkv(c.xs[u], i/c.Count, i%c.Count)
		kp, vp, qp := c.part(i, u)
		packColumns(kp, k, c.t, c.ch, c.scale)
		packRows(vp, v, c.ch, c.t, c.t)
		pad(qp, q, c.ch, c.t, c.tp)
	})
	d.parallel(c.dst.N*c.Count*c.blocks, (*Device).attendBlock)
}

// part is the packed K, V and Q of input u of a head.
func (c *attentionCall) part(head, u int) (k, v, q []float32) {
	kSize, vSize := c.t8*c.ch, c.c8*c.t
	s := c.stage[(head*c.inputs+u)*c.each:][:c.each]
	return s[:kSize], s[kSize : kSize+vSize], s[kSize+vSize:]
}

// attendBlock computes columns of a head's output.
func (d *Device) attendBlock(w *worker, i int) {
	c := &d.attention
	i, t := i/c.blocks, i%c.blocks*c.width
	cols := min(c.width, c.tp-t)
	size := c.t8 * cols
	scratch := w.floats(c.inputs*size + c.c8*cols + 2*cols)
	var held [4][]float32
	s := held[:c.inputs]
	for m := range s {
		s[m], scratch = scratch[:size:size], scratch[size:]
		for u := m; u >= 0; u-- { // every u ⊆ m, m first
			if u&^m == 0 {
				k, _, _ := c.part(i, u)
				_, _, q := c.part(i, m&^u)
				d.k.gemm(s[m], cols, k, c.t, q[t:], c.tp, c.ch, cols, u != m)
			}
		}
		s[m] = s[m][:c.t*cols]
	}
	out, stat := scratch[:c.c8*cols], scratch[c.c8*cols:]
	d.softmaxDerivatives(s, stat, c.t, cols)
	top := c.inputs - 1
	for u := top; u >= 0; u-- { // all are subsets of the top
		_, v, _ := c.part(i, u)
		d.k.gemm(out, cols, v, c.ch, s[top&^u], cols, c.t, cols, u != top)
	}
	to := image(c.dst, i/c.Count)[i%c.Count*c.ch*c.t:]
	for k := range c.ch {
		copy(to[k*c.t+t:k*c.t+min(t+cols, c.t)], out[k*cols:])
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
	c := attentionCall{heads: headsOf(dy, layout), dst: dx, xs: [4]compute.Tensor{x, dy}, accumulate: accumulate}
	c.each = 4*c.t8*c.ch + 3*c.c8*c.t + 4*c.ch*c.tp + 3*c.tp
	c.width = c.heads.width()
	c.blocks = ceil(c.tp, c.width)
	c.stage = d.staged(dy.N * c.Count * c.each)
	d.attention = c
	d.parallel(dy.N*c.Count, (*Device).packAdjoint)
	d.parallel(dy.N*c.Count*c.blocks, (*Device).attentionQueries)
	d.parallel(dy.N*c.Count*c.blocks, (*Device).attentionKeys)
}

// packAdjoint packs the operands of head i.
func (d *Device) packAdjoint(_ *worker, i int) {
	c := &d.attention
	x, dy := c.xs[0], c.xs[1]
	q, k, v := c.qkv(x, i/c.Count, i%c.Count)
	o := image(dy, i/c.Count)[i%c.Count*c.ch*c.t:][:c.ch*c.t]
	p := c.adjointParts(i)
	for _, m := range [...]struct {
		rowsT, rowsC, wide, src []float32
		scale                   float32
	}{{p.qT, p.qC, p.q, q, c.scale}, {p.kT, p.kC, p.k, k, c.scale}, {p.vT, nil, p.v, v, 1}, {p.oT, p.oC, p.o, o, 1}} {
		packColumns(m.rowsT, m.src, c.t, c.ch, m.scale)
		if m.rowsC != nil {
			packRows(m.rowsC, m.src, c.ch, c.t, c.t)
		}
		pad(m.wide, m.src, c.ch, c.t, c.tp)
	}
}

// adjointBlock is a task of the adjoint: columns from of a head, and scratch.
type adjointBlock struct {
	head, from, cols   int
	scores, grads, out []float32
	adjointParts
}

func (c *attentionCall) adjointBlock(w *worker, i int) (b adjointBlock) {
	b.head, b.from = i/c.blocks, i%c.blocks*c.width
	b.cols = min(c.width, c.tp-b.from)
	b.adjointParts = c.adjointParts(b.head)
	size := c.t8 * b.cols
	s := w.floats(2*size + c.c8*b.cols)
	b.scores, b.grads, b.out = s[:size], s[size:2*size], s[2*size:]
	return b
}

// store writes a block of a gradient.
func (c *attentionCall) store(k *kernels, w *worker, to []float32, b *adjointBlock, scale float32) {
	w.act = act{m: scale, p: scale, q: 1}
	for ch := range c.ch {
		row := to[ch*c.t+b.from : ch*c.t+min(b.from+b.cols, c.t)]
		if c.accumulate {
			k.linear(row, row, b.out[ch*b.cols:][:len(row)], &w.act, false)
		} else {
			k.affine(row, b.out[ch*b.cols:][:len(row)], &w.act)
		}
	}
}

// attentionQueries is the adjoint's first pass: columns of dQ.
func (d *Device) attentionQueries(w *worker, i int) {
	c := &d.attention
	b := c.adjointBlock(w, i)
	cols, t, n := b.cols, b.from, c.t*b.cols
	d.k.gemm(b.scores, cols, b.kT, c.t, b.q[t:], c.tp, c.ch, cols, false)
	d.k.softmax(b.scores, b.top[t:t+cols], b.sum[t:t+cols], c.t, cols)
	d.k.gemm(b.grads, cols, b.vT, c.t, b.o[t:], c.tp, c.ch, cols, false)
	d.k.centre(b.grads, b.scores, b.mean[t:t+cols], c.t, cols)
	d.k.mul(b.grads[:n], b.grads[:n], b.scores[:n])
	d.k.gemm(b.out, cols, b.kC, c.ch, b.grads, cols, c.t, cols, false)
	q, _, _ := c.qkv(c.dst, b.head/c.Count, b.head%c.Count)
	c.store(d.k, w, q, &b, c.scale)
}

// attentionKeys is the second: columns of dK and dV.
func (d *Device) attentionKeys(w *worker, i int) {
	c := &d.attention
	b := c.adjointBlock(w, i)
	cols, s, n := b.cols, b.from, c.t*b.cols
	d.k.gemm(b.scores, cols, b.qT, c.t, b.k[s:], c.tp, c.ch, cols, false)
	d.k.gemm(b.grads, cols, b.oT, c.t, b.v[s:], c.tp, c.ch, cols, false)
	for t := range c.t {
		row := b.scores[t*cols : (t+1)*cols]
		d.k.exp(row, row, 1, -b.top[t]-float32(math.Log(float64(b.sum[t]))))
		w.act = act{mu: b.mean[t], m: 1}
		d.k.affine(b.grads[t*cols:(t+1)*cols], b.grads[t*cols:(t+1)*cols], &w.act)
	}
	d.k.mul(b.grads[:n], b.grads[:n], b.scores[:n])
	_, dk, dv := c.qkv(c.dst, b.head/c.Count, b.head%c.Count)
	d.k.gemm(b.out, cols, b.oC, c.ch, b.scores, cols, c.t, cols, false)
	c.store(d.k, w, dv, &b, 1)
	d.k.gemm(b.out, cols, b.qC, c.ch, b.grads, cols, c.t, cols, false)
	c.store(d.k, w, dk, &b, c.scale)
}

// adjointParts is the packed operands of one head: rows of tokens, rows of
// channels, and as they are.
type adjointParts struct {
	qT, kT, vT, oT []float32
	qC, kC, oC     []float32
	q, k, v, o     []float32
	top, sum, mean []float32
}

// adjointParts is head i's part of the stage.
func (c *attentionCall) adjointParts(i int) adjointParts {
	rowsT, rowsC, wide := c.t8*c.ch, c.c8*c.t, c.ch*c.tp
	s := c.stage[i*c.each:][:c.each]
	cut := func(n int) (c []float32) { c, s = s[:n:n], s[n:]; return c }
	return adjointParts{
		cut(rowsT), cut(rowsT), cut(rowsT), cut(rowsT), cut(rowsC), cut(rowsC), cut(rowsC),
		cut(wide), cut(wide), cut(wide), cut(wide), cut(c.tp), cut(c.tp), cut(c.tp),
	}
}
