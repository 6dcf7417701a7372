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

// headsOf returns the layout of a block with the output out.
func headsOf(out compute.Tensor, h compute.Heads) heads {
	t, ch := out.H*out.W, out.C/h.Count
	return heads{Heads: h, ch: ch, t: t, tp: ceil(t, 16) * 16, t8: ceil(t, 8) * 8, c8: ceil(ch, 8) * 8,
		scale: float32(1 / math.Sqrt(float64(ch)))}
}

// qkv returns the parts of an image that belong to one head, each [ch][t].
func (h *heads) qkv(x compute.Tensor, n, head int) (q, k, v []float32) {
	step, gap := 3*h.ch, h.ch
	if h.Split {
		step, gap = h.ch, h.Count*h.ch
	}
	all, size := image(x, n), h.ch*h.t
	at := func(c int) []float32 { return all[c*h.t:][:size] }
	return at(head * step), at(head*step + gap), at(head*step + 2*gap)
}

// width returns the columns of a task: at most 48, the blocks of about equal width.
func (h *heads) width() int {
	units := h.tp / 16
	return ceil(units, ceil(units, 3)) * 16
}

// attentionCall is an attention block, or its adjoint, being run.
type attentionCall struct {
	heads
	dst        compute.Tensor
	xs         [4]compute.Tensor // of the value and its derivatives: x, a, b, ab; or x, a = b, ab
	inputs     int               // how many of them
	products   [][][2]int        // leibniz, or square
	accumulate bool
	width      int // columns of a task
	blocks     int // tasks of a head
	each       int // packed values of a head's input
	stage      []float32
}

// Attention implements [compute.Nonlinear].
func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h) {
		d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x}, inputs: 1, products: leibniz}, h)
	}
}

// AttentionTangent implements [compute.Nonlinear].
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a) {
		d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x, a}, inputs: 2, products: leibniz}, h)
	}
}

// AttentionSecond implements [compute.Nonlinear].
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads) {
	if !d.AttentionFits(dst, x, h, a, b, ab) {
		return
	}
	if a == b {
		d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x, a, ab}, inputs: 3, products: square}, h)
		return
	}
	d.attend(attentionCall{dst: dst, xs: [4]compute.Tensor{x, a, b, ab}, inputs: 4, products: leibniz}, h)
}

// The products that a derivative (K·Q)_m is the sum of. Along one direction the
// two mixed ones are equal: the first of the last counts twice.
var (
	leibniz = [][][2]int{{{0, 0}}, {{1, 0}, {0, 1}}, {{2, 0}, {0, 2}}, {{3, 0}, {2, 1}, {1, 2}, {0, 3}}}
	square  = [][][2]int{{{0, 0}}, {{1, 0}, {0, 1}}, {{1, 1}, {2, 0}, {0, 2}}}
)

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

// part returns the packed K, V and Q of input u of a head.
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
		for j, p := range c.products[m] {
			k, _, _ := c.part(i, p[0])
			_, _, q := c.part(i, p[1])
			d.k.gemm(s[m], cols, k, c.t, q[t:], c.tp, c.ch, cols, j > 0)
			c.twice(d.k, w, s[m], p)
		}
		s[m] = s[m][:c.t*cols]
	}
	out, stat := scratch[:c.c8*cols], scratch[c.c8*cols:]
	d.softmaxDerivatives(s, stat, c.t, cols)
	for j, p := range c.products[c.inputs-1] {
		_, v, _ := c.part(i, p[0])
		d.k.gemm(out, cols, v, c.ch, s[p[1]], cols, c.t, cols, j > 0)
		c.twice(d.k, w, out[:c.c8*cols], p)
	}
	to := image(c.dst, i/c.Count)[i%c.Count*c.ch*c.t:]
	for k := range c.ch {
		copy(to[k*c.t+t:k*c.t+min(t+cols, c.t)], out[k*cols:])
	}
}

// twice doubles the product of first derivatives along one direction.
func (c *attentionCall) twice(k *kernels, w *worker, s []float32, product [2]int) {
	if product == [2]int{1, 1} {
		w.act = act{m: 2}
		k.affine(s, s, &w.act)
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
		} else if m == 2 && len(s) == 3 { // a = b
			d.k.fma(s[2], s[1], s[1])
		}
		d.k.centre(s[m], s[0], stat, rows, cols)
	}
	for m := 1; m < len(s); m++ {
		d.k.mul(s[m], s[m], s[0])
	}
}
