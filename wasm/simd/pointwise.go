//go:build js

package simd

import (
	"unsafe"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// The most terms of Combine, and the values of a piece of an image, as the kernels
// have them.
const (
	terms = 6
	chunk = 16384
)

// Combine implements [compute.Pointwise].
func (d *Device) Combine(dst compute.Tensor, ts ...compute.Term) {
	if !d.CombineFits(dst, ts) {
		return
	}
	args := []any{dst, len(ts)}
	for i := range terms {
		if i < len(ts) {
			args = append(args, ts[i].X)
		} else {
			args = append(args, none)
		}
	}
	for i := range terms {
		args = append(args, i < len(ts) && len(ts[i].Coef) == 1)
	}
	for _, t := range ts {
		for _, c := range t.Coef {
			args = append(args, float32(c))
		}
	}
	d.call(cmdCombine, args...)
}

// AddChannel implements [compute.Pointwise].
func (d *Device) AddChannel(dst, x, e compute.Tensor) {
	if d.AddChannelFits(dst, x, e) {
		d.call(cmdAddChannel, dst, x, e, words(3))
	}
}

// Mul implements [compute.Pointwise].
func (d *Device) Mul(dst, a, b compute.Tensor) {
	if d.MulFits(dst, a, b) {
		d.call(cmdMul, dst, a, b, words(3))
	}
}

// Clamp implements [compute.Pointwise].
func (d *Device) Clamp(dst, x compute.Tensor, lo, hi float32) {
	if d.PointwiseFits("clamp", dst, x) {
		d.call(cmdClamp, dst, x, none, lo, hi, words(1))
	}
}

// ClampAdjoint implements [compute.Pointwise].
func (d *Device) ClampAdjoint(dst, g, x compute.Tensor, lo, hi float32) {
	if d.PointwiseFits("clamp adjoint", dst, g, x) {
		d.call(cmdClampAdjoint, dst, g, x, lo, hi, words(1))
	}
}

// Exp implements [compute.Pointwise].
func (d *Device) Exp(dst, x compute.Tensor, scale, shift float32) {
	if d.PointwiseFits("exp", dst, x) {
		d.call(cmdExp, dst, x, none, scale, shift, words(1))
	}
}

// Pow implements [compute.Pointwise].
func (d *Device) Pow(dst, x compute.Tensor, scale, shift, p float32) {
	if d.PointwiseFits("pow", dst, x) {
		d.call(cmdPow, dst, x, none, scale, shift, p)
	}
}

// Dot implements [compute.Pointwise].
func (d *Device) Dot(a, b compute.Tensor) ([]float64, error) {
	n, ok := d.DotFits(a, b)
	if !ok {
		return nil, d.Err()
	}
	big := a
	if b.N > a.N {
		big = b
	}
	pieces := ceil(big.Len(), chunk)
	if d.partial.floats < 2*n*pieces {
		d.flush()
		freeBytes(d.partial.at)
		d.partial = buffer{}
		at, err := d.allocate(8 * n * pieces)
		if err != nil {
			d.Fail(err)
			return nil, d.Err()
		}
		d.partial = buffer{at, 2 * n * pieces}
	}
	d.call(cmdDot, d.partial.at, big, a, b)
	if d.flush(); d.Err() != nil {
		return nil, d.Err()
	}
	partial := make([]float64, n*pieces)
	copyOut(unsafe.Pointer(unsafe.SliceData(partial)), d.partial.at, int32(8*len(partial)))
	out := make([]float64, n)
	for i, v := range partial {
		out[i/pieces] += v
	}
	return out, nil
}
