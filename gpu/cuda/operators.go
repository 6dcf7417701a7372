package cuda

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Shared memory of a block, of two tiles and of a patch with a part of the kernel.
const (
	separableShared = 4 * 2 * 32 * 33
	correlateShared = 4 * ((32+7)*(32+15) + 8*16)
)

type separableParams struct {
	dst, src                      view
	l, r, between                 Ptr
	channels, h, w, toH, toW, add int32
}

// Separable implements [compute.Linear].
func (d *Device) Separable(dst, src, l, r compute.Tensor, accumulate bool) {
	if !d.SeparableFits(dst, src, l, r) {
		return
	}
	planes := dst.N * dst.C
	p := separableParams{viewOf(dst), viewOf(src), image(l, 0), image(r, 0), d.temporary(4 * planes * src.H * dst.W),
		int32(dst.C), int32(src.H), int32(src.W), int32(dst.H), int32(dst.W), flag(accumulate)}
	const tile = 32
	grid := func(h int) [3]uint32 {
		return [3]uint32{uint32(ceil(dst.W, tile)), uint32(ceil(h, tile)), uint32(planes)}
	}
	launch(d, "separable_rows", grid(src.H), row(threads), separableShared, &p)
	launch(d, "separable", grid(dst.H), row(threads), separableShared, &p)
}

type correlateParams struct {
	dst, src                                                      view
	kernel                                                        Ptr
	channels, h, w, toH, toW, kh, kw, top, left, border, reversed int32
}

// Correlate implements [compute.Linear].
func (d *Device) Correlate(dst, src, kernel compute.Tensor, border compute.Border, adjoint bool) {
	if !d.CorrelateFits(dst, src, kernel, border) {
		return
	}
	const side, zero = 32, 2
	kh, kw, planes := kernel.H, kernel.W, dst.N*dst.C
	p := correlateParams{viewOf(dst), viewOf(src), image(kernel, 0), int32(dst.C), int32(src.H), int32(src.W), int32(src.H), int32(src.W),
		int32(kh), int32(kw), int32(kh / 2), int32(kw / 2), int32(border), 0}
	grid := func(h, w int) [3]uint32 {
		return [3]uint32{uint32(ceil(w, side)), uint32(ceil(h, side)), uint32(planes)}
	}
	if !adjoint {
		launch(d, "correlate", grid(src.H, src.W), row(threads), correlateShared, &p)
		return
	}
	h, w := src.H+kh-1, src.W+kw-1
	wide := view{d.temporary(4 * planes * h * w), int32(src.C * h * w), int32(src.N)}
	q := p
	q.dst, q.toH, q.toW, q.top, q.left, q.border, q.reversed = wide, int32(h), int32(w), int32(kh-1), int32(kw-1), zero, 1
	launch(d, "correlate", grid(h, w), row(threads), correlateShared, &q)
	p.src = wide
	launch(d, "correlate_fold", [3]uint32{uint32(ceil(src.H*src.W, threads)), 1, uint32(planes)}, row(threads), 0, &p)
}
