package cuda

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

type attentionParams struct {
	dst, x, a, b, ab, dy          view
	rows                          Ptr
	heads, ch, tokens, split, add int32
	scale                         float32
}

// attend queues the two passes of attention.cu: the rows' sums, then each of the
// kernels of the second pass with so many kinds of scores and of weights.
func (d *Device) attend(rows string, kernels []string, images int, out compute.Tensor, h compute.Heads, sets, weights int, p *attentionParams) {
	const own, wide = 32, 64
	ch, tokens := out.C/h.Count, out.H*out.W
	for _, v := range []*view{&p.dst, &p.x, &p.a, &p.b, &p.ab, &p.dy} {
		v.count = max(v.count, 1)
	}
	p.rows = d.temporary(4 * images * h.Count * 4 * tokens)
	p.heads, p.ch, p.tokens, p.split = int32(h.Count), int32(ch), int32(tokens), flag(h.Split)
	p.scale = float32(1 / math.Sqrt(float64(ch)))
	shared, sharedRows := attentionShared(sets, weights)
	grid := [3]uint32{uint32(ceil(tokens, own)), uint32(h.Count), uint32(images)}
	launch(d, rows, grid, row(threads), sharedRows, p)
	grid[1] *= uint32(ceil(ch, wide))
	for _, k := range kernels {
		launch(d, k, grid, row(threads), shared, p)
	}
}

// attentionShared returns the shared memory of a block of the second and of the first
// pass.
func attentionShared(sets, weights int) (second, first int) {
	const own, others, depth, pitch = 32, 64, 16, 68
	scores := sets * depth * (own + others)
	return 4 * (weights*own*(others+1) + max(scores, others*pitch)), 4 * scores
}

// Attention implements [compute.Nonlinear].
func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h) {
		d.attend("attention_rows", []string{"attention"}, dst.N, dst, h, 1, 1, &attentionParams{dst: viewOf(dst), x: viewOf(x)})
	}
}

// AttentionAdjoint implements [compute.Nonlinear].
func (d *Device) AttentionAdjoint(dx, x, dy compute.Tensor, h compute.Heads, accumulate bool) {
	if d.AttentionAdjointFits(dx, x, dy, h) {
		d.attend("vjp_attention_rows", []string{"vjp_attention_q", "vjp_attention_kv"}, dy.N, dy, h, 2, 2,
			&attentionParams{dst: viewOf(dx), x: viewOf(x), dy: viewOf(dy), add: flag(accumulate)})
	}
}

// AttentionTangent implements [compute.Nonlinear].
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a) {
		d.attend("jvp_attention_rows", []string{"jvp_attention"}, dst.N, dst, h, 2, 2,
			&attentionParams{dst: viewOf(dst), x: viewOf(x), a: viewOf(a)})
	}
}

// AttentionSecond implements [compute.Nonlinear].
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a, b, ab) {
		d.attend("jet2_attention_rows", []string{"jet2_attention"}, dst.N, dst, h, 4, 4,
			&attentionParams{dst: viewOf(dst), x: viewOf(x), a: viewOf(a), b: viewOf(b), ab: viewOf(ab)})
	}
}
