package wgsl

import (
	"errors"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// weights is a prepared convolution. The host keeps the weights as they came,
// from which the adapter's layouts are made when first used.
type weights struct {
	dev    *Device
	shape  compute.ConvShape
	host   []float32
	bias   *block
	direct [2]*block               // forward and adjoint, see quads
	tiled  [len(schemes)][2]*block // transformed for winograd.go, each when first used
}

// Shape implements [compute.Weights].
func (w *weights) Shape() compute.ConvShape { return w.shape }

// Free implements [compute.Weights].
func (w *weights) Free() {
	for _, b := range append(slices.Concat(w.direct[:], w.tiled[0][:], w.tiled[1][:]), w.bias) {
		if b != nil {
			w.dev.release(b)
		}
	}
	*w = weights{shape: w.shape}
}

// PrepareConv implements [compute.Linear].
func (d *Device) PrepareConv(shape compute.ConvShape, weight, bias []float32) (compute.Weights, error) {
	if err := errors.Join(d.PrepareConvFits(shape, weight, bias), d.Err()); err != nil {
		return nil, err
	}
	w := &weights{dev: d, shape: shape, host: append([]float32(nil), weight...)}
	padded := make([]float32, ceil(shape.Out, 8)*8)
	copy(padded, bias)
	var err error
	if w.bias, err = d.uploaded(padded); err != nil {
		return nil, err
	}
	if w.direct[0], err = d.uploaded(w.quads(false)); err != nil {
		w.Free()
		return nil, err
	}
	return w, nil
}

// quads is the weights as [out/4][in][taps][4], an even number of quads; of the
// adjoint, channels swapped and taps reversed.
func (w *weights) quads(adjoint bool) []float32 {
	in, out, taps := w.shape.In, w.shape.Out, w.shape.Kernel*w.shape.Kernel
	if adjoint {
		in, out = out, in
	}
	q := make([]float32, ceil(out, 8)*8*in*taps)
	for o := range out {
		for i := range in {
			to := q[(o/4*in+i)*taps*4+o%4:]
			for t := range taps {
				if adjoint {
					to[4*t] = w.host[(i*w.shape.In+o)*taps+taps-1-t]
				} else {
					to[4*t] = w.host[(o*in+i)*taps+t]
				}
			}
		}
	}
	return q
}

// directly is the weights for the direct kernels; nil after a failure.
func (w *weights) directly(adjoint bool) *block {
	which := 0
	if adjoint {
		which = 1
	}
	if w.direct[which] == nil {
		b, err := w.dev.uploaded(w.quads(adjoint))
		if err != nil {
			w.dev.Fail(err)
			return nil
		}
		w.direct[which] = b
	}
	return w.direct[which]
}
