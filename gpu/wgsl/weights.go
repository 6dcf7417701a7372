package wgsl

import (
	"errors"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// weights is a prepared convolution. Layouts beside the first are made on the
// adapter when first used.
type weights struct {
	dev     *Device
	shape   compute.ConvShape
	bias    *block
	largest float32                 // magnitude of a weight
	direct  [2]*block               // forward and adjoint, see quads
	tiled   [len(schemes)][2]*block // transformed for winograd.go, each when first used
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
	w := &weights{dev: d, shape: shape}
	for _, v := range weight {
		w.largest = max(w.largest, v, -v)
	}
	padded := make([]float32, ceil(shape.Out, 8)*8)
	copy(padded, bias)
	var err error
	if w.bias, err = d.uploaded(padded); err != nil {
		return nil, err
	}
	if w.direct[0], err = d.uploaded(quads(shape, weight)); err != nil {
		w.Free()
		return nil, err
	}
	return w, nil
}

// quads is weights as [out/4][in][taps][4], an even number of quads.
func quads(shape compute.ConvShape, weight []float32) []float32 {
	taps := shape.Kernel * shape.Kernel
	q := make([]float32, ceil(shape.Out, 8)*8*shape.In*taps)
	for o := range shape.Out {
		for i := range shape.In {
			to := q[(o/4*shape.In+i)*taps*4+o%4:]
			for t, v := range weight[(o*shape.In+i)*taps:][:taps] {
				to[4*t] = v
			}
		}
	}
	return q
}

// directly returns the weights for the direct kernels, those of the adjoint made when
// first used; nil after a failure.
func (w *weights) directly(adjoint bool) *block {
	if !adjoint {
		return w.direct[0]
	}
	if w.direct[1] != nil {
		return w.direct[1]
	}
	taps, count := w.shape.Kernel*w.shape.Kernel, ceil(w.shape.In, 8)*2*w.shape.Out
	b, err := w.dev.acquire(16 * taps * count)
	if err != nil {
		w.dev.Fail(err)
		return nil
	}
	w.dev.now(func() {
		w.dev.invocations(call{
			kernel: "conv", entry: "transposed", ints: []integer{{"TAPS", taps}},
			args:   []argument{{name: "to", block: b, vectors: true, writes: true}, {name: "w", block: w.direct[0], vectors: true}},
			params: []parameter{u("inputs", w.shape.In), u("outputs", w.shape.Out)},
		}, count, float64(8*taps*pointwiseWork))
	})
	w.direct[1] = b
	return b
}
