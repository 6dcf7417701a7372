package cuda

import "github.com/cmi-diffusion/cmi/sdk/compute"

type resampleParams struct {
	dst, src                       view
	length, width, kind, add, wide int32
	scale                          float32
}

// Resample implements [compute.Linear].
func (d *Device) Resample(dst, src compute.Tensor, kind compute.Resampling, scale float32, accumulate bool) {
	if !d.ResampleFits(dst, src, kind) {
		return
	}
	p := resampleParams{dst: viewOf(dst), src: viewOf(src), length: int32(dst.Len()), width: int32(dst.W),
		kind: int32(kind), add: flag(accumulate), wide: wide(dst.W, dst), scale: scale}
	launch(d, "resample", over(dst.Len(), dst.N, p.wide), row(threads), 0, &p)
}
