package cuda

import "github.com/cmi-diffusion/cmi/sdk/compute"

// normPiece is norm_piece of groupnorm.cu.
const normPiece = 8192

// normShared is the shared memory of a block: 8 sums of each of 32 warps.
const normShared = 8 * 8 * 32

type normParams struct {
	dst, x, stats, a, b, ab, gamma, beta, scale, shift            view
	sums                                                          Ptr
	groups, length, pixels, pieces, pass, wide, silu, scaled, add int32
	eps                                                           float32
}

// norm queues a kernel of groupnorm.cu for so many images; c holds dy, or the
// coefficients.
func (d *Device) norm(kernel string, dst, x, stats compute.Tensor, p compute.Norm, add bool, c ...compute.Tensor) {
	length, pixels := x.Len()/p.Groups, x.H*x.W
	pieces := ceil(length, normPiece)
	q := normParams{dst: viewOf(dst), x: viewOf(x), stats: viewOf(stats), gamma: viewOf(p.Gamma), beta: viewOf(p.Beta),
		scale: viewOf(p.Scale), shift: viewOf(p.Shift), groups: int32(p.Groups), length: int32(length), pixels: int32(pixels),
		pieces: int32(pieces), wide: min(wide(pixels, dst, x), wide(pixels, c...)), silu: flag(p.SiLU), scaled: flag(p.Scale.Buf != nil),
		add: flag(add), eps: p.Eps}
	for i, v := range []*view{&q.a, &q.b, &q.ab} {
		v.count = 1
		if i < len(c) {
			*v = viewOf(c[i])
		}
	}
	grid := [3]uint32{uint32(pieces * p.Groups), uint32(dst.N), 1}
	if pieces == 1 {
		q.pass = 2
		launch(d, kernel, grid, row(threads), normShared, &q)
		return
	}
	q.sums = d.temporary(8 * 8 * dst.N * p.Groups * pieces)
	for q.pass = range int32(2) {
		launch(d, kernel, grid, row(threads), normShared, &q)
	}
}

// GroupNorm implements [compute.Nonlinear].
func (d *Device) GroupNorm(dst, x, stats compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p) {
		d.norm("groupnorm", dst, x, stats, p, false)
	}
}

// GroupNormAdjoint implements [compute.Nonlinear].
func (d *Device) GroupNormAdjoint(dx, x, stats, dy compute.Tensor, p compute.Norm, accumulate bool) {
	if d.NormFits(dx, x, stats, p, dy) {
		d.norm("vjp_groupnorm", dx, x, stats, p, accumulate, dy)
	}
}

// GroupNormTangent implements [compute.Nonlinear].
func (d *Device) GroupNormTangent(dst, x, stats, a compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a) {
		d.norm("jvp_groupnorm", dst, x, stats, p, false, a)
	}
}

// GroupNormSecond implements [compute.Nonlinear].
func (d *Device) GroupNormSecond(dst, x, stats, a, b, ab compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a, b, ab) {
		d.norm("jet2_groupnorm", dst, x, stats, p, false, a, b, ab)
	}
}
