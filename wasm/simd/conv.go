//go:build js

package simd

import "github.com/cmi-diffusion/cmi/sdk/compute"

// scheme is a way to convolve in tiles: Winograd's F(4×4, 3×3) or F(2×2, 3×3), or
// −1 for the direct sum. See kernels/winograd.c, and package cpu, whose choice this
// is.
type scheme struct {
	size, points, run, cell int
	least, most             int // in·out·pixels below which, in·out for each pixel above which it is not taken
	cost                    int // of a channel's transforms, in multiplications of a group
}

var schemes = [2]scheme{
	{size: 4, points: 36, run: 16, cell: 256, least: 1<<20 + 1, most: 512, cost: 250},
	{size: 2, points: 16, run: 8, cell: 64, most: 2048, cost: 100},
}

// schemeFor returns the fastest scheme for one image: it does not depend on their
// number, so that an image's result does not.
func schemeFor(in, out, h, w int) int {
	out = ceil(out, 8) * 8
	best, least := -1, 0.9*float64(9*in*out*ceil(h*(w+1), 16))
	for i, s := range schemes {
		if in*out*h*w < s.least || in*out > s.most*h*w || w%s.run != 0 || h%s.size != 0 || h*w%s.cell != 0 {
			continue
		}
		if time := float64(h * w / s.cell * (s.points*in*out + s.cost*(in+out))); time < least {
			best, least = i, time
		}
	}
	return best
}

func ceil(n, of int) int { return (n + of - 1) / of }

// weights is a convolution in panels of 4 output channels, [out/4][in][k·k][4].
type weights struct {
	d       *Device
	shape   compute.ConvShape
	bias    address
	forward address
	// The adjoint's panels, and those transformed for the schemes, forward and
	// adjoint: each made when first used.
	backward address
	tiled    [len(schemes)][2]address
}

// Shape implements [compute.Weights].
func (w *weights) Shape() compute.ConvShape { return w.shape }

// Free implements [compute.Weights].
func (w *weights) Free() {
	w.d.flush()
	for _, a := range []address{w.bias, w.forward, w.backward, w.tiled[0][0], w.tiled[0][1], w.tiled[1][0], w.tiled[1][1]} {
		freeBytes(a)
	}
	*w = weights{d: w.d, shape: w.shape}
}

// PrepareConv implements [compute.Linear].
func (d *Device) PrepareConv(shape compute.ConvShape, weight, bias []float32) (compute.Weights, error) {
	if err := d.PrepareConvFits(shape, weight, bias); err != nil {
		return nil, err
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	w := &weights{d: d, shape: shape}
	raw, err := d.allocate(4 * len(weight))
	if err == nil {
		defer freeBytes(raw)
		copyTo(raw, weight)
		w.forward, err = d.allocate(4 * panels(shape.Out, shape.In, shape.Kernel))
	}
	if err == nil && bias != nil {
		if w.bias, err = d.allocate(4 * len(bias)); err == nil {
			copyTo(w.bias, bias)
		}
	}
	if err != nil {
		w.Free()
		return nil, err
	}
	d.now(cmdPackWeights, w.forward, raw, shape.Out, shape.In, shape.Kernel*shape.Kernel, false)
	return w, d.Err()
}

// panels returns the values of panels of that shape.
func panels(out, in, kernel int) int { return ceil(out, 4) * 4 * in * kernel * kernel }

// now runs a command before those that are queued.
func (d *Device) now(c command, args ...any) { d.submit(encode(nil, c, args)) }

// make is memory that a command fills at once, kept in place.
func (d *Device) make(place *address, floats int, fill func(at address)) address {
	if *place == 0 {
		at, err := d.allocate(4 * floats)
		if err != nil {
			d.Fail(err)
			return 0
		}
		*place = at
		fill(at)
	}
	return *place
}

func (w *weights) panels(adjoint bool) address {
	if !adjoint {
		return w.forward
	}
	s := w.shape
	return w.d.make(&w.backward, panels(s.In, s.Out, s.Kernel), func(at address) {
		w.d.now(cmdPackWeights, at, w.forward, s.Out, s.In, s.Kernel*s.Kernel, true)
	})
}

func (w *weights) transformed(kind int, adjoint bool) address {
	s, place, out, in := w.shape, &w.tiled[kind][0], w.shape.Out, w.shape.In
	if adjoint {
		place, out, in = &w.tiled[kind][1], in, out
	}
	return w.d.make(place, schemes[kind].points*panels(out, in, 1), func(at address) {
		w.d.now(cmdTransformWeights, at, w.forward, s.Out, s.In, adjoint, kind)
	})
}

// Conv implements [compute.Linear].
func (d *Device) Conv(dst, src compute.Tensor, prepared compute.Weights, mode compute.ConvMode) {
	w, ok := prepared.(*weights)
	if !d.ConvFits(dst, src, prepared, ok && w.d == d && w.forward != 0, mode) {
		return
	}
	kind := -1
	if w.shape.Kernel == 3 {
		kind = schemeFor(src.C, dst.C, src.H, src.W)
	}
	var panels, bias address
	if kind >= 0 {
		panels = w.transformed(kind, mode.Adjoint)
	} else {
		panels = w.panels(mode.Adjoint)
	}
	if mode.Bias && !mode.Adjoint {
		bias = w.bias
	}
	if d.Err() == nil {
		d.call(cmdConv, dst, src, mode.Add, panels, bias, src.C, dst.C, w.shape.Kernel, kind)
	}
}
