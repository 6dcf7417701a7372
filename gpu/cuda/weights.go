package cuda

import (
	"fmt"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// weights is a convolution. The host keeps it as it came; what kernels read is laid
// out on the GPU when it is first used.
type weights struct {
	d       *Device
	shape   compute.ConvShape
	weight  []float32
	bias    Ptr
	layouts map[layoutKey]*layout
}

// layoutKey names a layout of conv_weights.cu.
type layoutKey struct{ adjoint, plain bool }

// layout is weights on the GPU.
type layout struct {
	ptr         Ptr
	bytes       int
	units, outs int // of the sum, and output channels of a block
}

// Shape implements [compute.Weights].
func (w *weights) Shape() compute.ConvShape { return w.shape }

// Free implements [compute.Weights].
func (w *weights) Free() {
	for _, l := range w.layouts {
		w.d.release(l.ptr, l.bytes)
	}
	if w.bias != 0 {
		w.d.release(w.bias, 4*w.shape.Out)
	}
	*w = weights{d: w.d, shape: w.shape}
}

// PrepareConv implements [compute.Linear]. A 3×3 convolution is laid out at once, so
// that too large a network is refused here; a 1×1 one may be a linear layer.
func (d *Device) PrepareConv(shape compute.ConvShape, weight, bias []float32) (compute.Weights, error) {
	if err := d.PrepareConvFits(shape, weight, bias); err != nil {
		return nil, err
	}
	w := &weights{d: d, shape: shape, weight: slices.Clone(weight), layouts: map[layoutKey]*layout{}}
	if bias != nil {
		p, err := d.reserve(4 * len(bias))
		if err != nil {
			return nil, fmt.Errorf("bias of %+v: %w", shape, err)
		}
		d.driver.Upload(p, bytesOf(bias))
		w.bias = p
	}
	if shape.Kernel == 3 {
		if _, err := w.layout(layoutKey{}); err != nil {
			w.Free()
			return nil, err
		}
	}
	return w, nil
}

type convWeightsParams struct {
	to, from                                  Ptr
	words                                     int64
	out, in, kernel, adjoint, mode, mi, units int32
}

// plainLayout is plain_layout of conv_weights.cu.
const plainLayout = 4

// layout returns the weights as a kernel reads them.
func (w *weights) layout(key layoutKey) (*layout, error) {
	if l := w.layouts[key]; l != nil {
		return l, nil
	}
	d := w.d
	p := convWeightsParams{out: int32(w.shape.Out), in: int32(w.shape.In), kernel: int32(w.shape.Kernel), adjoint: flag(key.adjoint), mode: int32(d.precision)}
	if key.adjoint {
		p.out, p.in = p.in, p.out
	}
	l := &layout{}
	if key.plain {
		p.mode, p.words = plainLayout, int64(len(w.weight))
	} else {
		depth, steps := 8, 3
		if d.precision == BF16 {
			depth = 16
		}
		if w.shape.Kernel == 1 {
			steps = 2
			l.units = ceil(int(p.in), depth*steps)
		} else {
			l.units = ceil(int(p.in), depth) * 3
		}
		p.mi = 4
		if p.out <= 32 {
			p.mi = 1
		}
		l.outs = 32 * int(p.mi)
		p.units = int32(l.units)
		p.words = int64(ceil(int(p.out), l.outs) * l.units * steps * l.outs * 8)
	}
	l.bytes = int(4 * p.words)
	raw := 4 * len(w.weight)
	var err error
	if l.ptr, err = d.reserve(l.bytes); err != nil {
		return nil, fmt.Errorf("weights of %+v: %w", w.shape, err)
	}
	if p.from, err = d.reserve(raw); err != nil {
		d.release(l.ptr, l.bytes)
		return nil, fmt.Errorf("weights of %+v: %w", w.shape, err)
	}
	p.to = l.ptr
	d.untaped(func() {
		d.driver.Upload(p.from, bytesOf(w.weight))
		launch(d, "conv_weights", [3]uint32{uint32(min(ceil(int(p.words), threads), 1<<16)), 1, 1}, row(threads), 0, &p)
	})
	d.release(p.from, raw)
	w.layouts[key] = l
	return l, d.Err()
}
