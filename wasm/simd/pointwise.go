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
		d.call(cmdAddChannel, dst, x, e)
	}
}

// Mul implements [compute.Pointwise].
func (d *Device) Mul(dst, a, b compute.Tensor) {
	if d.MulFits(dst, a, b) {
		d.call(cmdMul, dst, a, b)
	}
}

// Map implements [compute.Pointwise].
func (d *Device) Map(dst compute.Tensor, m compute.Map, sources ...compute.Tensor) {
	if !d.MapFits(dst, m, sources) {
		return
	}
	args := []any{dst}
	for i := range 4 {
		if i < len(sources) {
			args = append(args, sources[i])
		} else {
			args = append(args, none)
		}
	}
	d.call(cmdMap, append(args, int(m.Func), m.Order, m.Accumulate, m.P[0], m.P[1], m.P[2])...)
}

// Dots implements [compute.Pointwise].
func (d *Device) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	if !d.DotsFit(pairs) {
		return nil, d.Err()
	}
	sums := 0 // partial sums of all pairs, one for each piece of each image
	for _, p := range pairs {
		big := compute.Larger(p)
		sums += big.N * ceil(big.Len(), chunk)
	}
	if d.partial.floats < 2*sums {
		d.flush()
		freeBytes(d.partial.at)
		d.partial = buffer{}
		at, err := d.allocate(8 * sums)
		if err != nil {
			d.Fail(err)
			return nil, d.Err()
		}
		d.partial = buffer{at, 2 * sums}
	}
	at := d.partial.at
	for _, p := range pairs {
		big := compute.Larger(p)
		d.call(cmdDot, at, big, p[0], p[1])
		at += address(8 * big.N * ceil(big.Len(), chunk))
	}
	if d.flush(); d.Err() != nil || sums == 0 {
		return nil, d.Err()
	}
	partial := make([]float64, sums)
	copyOut(unsafe.Pointer(unsafe.SliceData(partial)), d.partial.at, int32(8*len(partial)))
	dots := make([][]float64, len(pairs))
	for k, p := range pairs {
		big := compute.Larger(p)
		pieces := ceil(big.Len(), chunk)
		dots[k] = make([]float64, big.N)
		for i, v := range partial[:big.N*pieces] {
			dots[k][i/pieces] += v
		}
		partial = partial[big.N*pieces:]
	}
	return dots, nil
}
