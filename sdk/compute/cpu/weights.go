package cpu

import "github.com/cmi-diffusion/cmi/sdk/compute"

// weights is a convolution in panels of 8 output channels, [Out/8][In][k·k][8],
// as tile reads them.
type weights struct {
	shape    compute.ConvShape
	forward  []float32
	backward []float32                  // the transposed map's panels, made when first used
	tiled    [len(schemes)][2][]float32 // transformed for winograd.go: forward and transposed, each when first used
	bias     []float32
}

// Shape implements [compute.Weights].
func (w *weights) Shape() compute.ConvShape { return w.shape }

// Free implements [compute.Weights].
func (w *weights) Free() { *w = weights{shape: w.shape} }

// PrepareConv implements [compute.Linear].
func (d *Device) PrepareConv(shape compute.ConvShape, weight, bias []float32) (compute.Weights, error) {
	if err := d.PrepareConvFits(shape, weight, bias); err != nil {
		return nil, err
	}
	taps := shape.Kernel * shape.Kernel
	w := &weights{shape: shape, bias: append([]float32(nil), bias...)}
	w.forward = make([]float32, ceil(shape.Out, 8)*8*shape.In*taps)
	packRows(w.forward, weight, shape.Out, shape.In*taps, shape.In*taps)
	return w, nil
}

// adjoint returns the panels of the transposed map: channels swapped, taps reversed.
func (w *weights) adjoint() []float32 {
	if w.backward != nil {
		return w.backward
	}
	in, out, taps := w.shape.In, w.shape.Out, w.shape.Kernel*w.shape.Kernel
	w.backward = make([]float32, ceil(in, 8)*8*out*taps)
	for i := range in {
		panel := w.backward[i/8*8*out*taps+i%8:]
		for o := range out {
			from := w.forward[(o/8*8*in+i*8)*taps+o%8:]
			for t := range taps {
				panel[(o*taps+taps-1-t)*8] = from[t*8]
			}
		}
	}
	return w.backward
}
