package cpu

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

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
