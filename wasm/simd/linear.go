//go:build js

package simd

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Resample implements [compute.Linear].
func (d *Device) Resample(dst, src compute.Tensor, kind compute.Resampling, scale float32, accumulate bool) {
	if d.ResampleFits(dst, src, kind) {
		d.call(cmdResample, dst, src, int(kind), scale, accumulate)
	}
}

// Separable implements [compute.Linear].
func (d *Device) Separable(dst, src, l, r compute.Tensor, accumulate bool) {
	if d.SeparableFits(dst, src, l, r) {
		d.call(cmdSeparable, dst, src, l, r, accumulate, words(2))
	}
}

// Correlate implements [compute.Linear].
func (d *Device) Correlate(dst, src, kernel compute.Tensor, border compute.Border, adjoint bool) {
	if d.CorrelateFits(dst, src, kernel, border) {
		d.call(cmdCorrelate, dst, src, kernel, border == compute.Circular, adjoint, words(2))
	}
}
