package cuda

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

type convParams struct {
	dst, src, plus                                     view
	weight, bias, partial                              Ptr
	images, in, out, h, w, units, tile, aligned, pairs int32
}

// Pixels of a block, and stages of its copies: conv.h.
const (
	convPixels = 128
	convStages = 3
)

// Conv implements [compute.Linear].
func (d *Device) Conv(dst, src compute.Tensor, prepared compute.Weights, mode compute.ConvMode) {
	w, ok := prepared.(*weights)
	ok = ok && w.d == d && w.layouts != nil
	if !d.ConvFits(dst, src, prepared, ok, mode) {
		return
	}
	pixels := src.H * src.W
	key := layoutKey{adjoint: mode.Adjoint, plain: pixels == 1 && w.shape.Kernel == 1}
	l, err := w.layout(key)
	if err != nil {
		d.Fail(err)
		return
	}
	bias := Ptr(0)
	if mode.Bias && !mode.Adjoint {
		bias = w.bias
	}
	if key.plain {
		d.linear(dst, src, mode.Add, l.ptr, bias)
		return
	}
	p := convParams{dst: viewOf(dst), src: viewOf(src), plus: viewOf(mode.Add), weight: l.ptr, bias: bias,
		images: int32(dst.N), in: int32(src.C), out: int32(dst.C), h: int32(src.H), w: int32(src.W), units: int32(l.units)}
	if w.shape.Kernel == 1 {
		p.h, p.w = 1, int32(pixels)
	}
	p.tile = int32(tileOf(int(p.w), w.shape.Kernel))
	p.aligned = wide(int(p.w), src)
	p.pairs = pairs(int(p.w), dst, mode.Add)
	across, rows := ceil(int(p.w), int(p.tile)), convPixels/int(p.tile)
	grid := [3]uint32{uint32(across * ceil(dst.N*int(p.h), rows)), uint32(ceil(dst.C, l.outs)), 1}
	ranges := d.ranges(int(grid[0]*grid[1]), l.units)
	grid[2] = uint32(ranges)
	if ranges > 1 {
		p.partial = d.temporary(4 * ranges * dst.N * dst.Len())
	}
	name := fmt.Sprintf("conv%d_%v_%d", w.shape.Kernel, d.precision, l.outs)
	launch(d, name, grid, row(d.convThreads(l.outs)), d.convShared(w.shape.Kernel, int(p.tile), l.outs), &p)
	if ranges > 1 {
		p.units = int32(ranges)
		launch(d, "conv_sum", over(dst.Len(), dst.N, 0), row(threads), 0, &p)
	}
}

// tileOf returns the pixels of a row that a block takes: the most among those that waste
// least.
func tileOf(width, kernel int) int {
	tile := convPixels
	if kernel == 3 {
		tile = 32
	}
	best := tile
	for ; tile >= 8; tile /= 2 {
		if ceil(width, tile)*tile < ceil(width, best)*best {
			best = tile
		}
	}
	return best
}

// pairs says whether rows of so many values can be written two at a time.
func pairs(width int, ts ...compute.Tensor) int32 {
	for _, t := range ts {
		if t.Buf != nil && (t.Off%2 != 0 || t.N > 1 && t.Pitch%2 != 0) {
			return 0
		}
	}
	return flag(width%2 == 0)
}

// ranges is into how many parts a sum of so many units is split, so that few blocks
// still fill the GPU.
func (d *Device) ranges(blocks, units int) int {
	return max(1, min(2*d.info.SMs/blocks, units/6, 16))
}

// convThreads returns the threads of a block that computes so many channels.
func (d *Device) convThreads(outs int) int {
	if outs == 128 && (d.precision == TF32 || d.precision == BF16) {
		return 128
	}
	return threads
}

// convShared returns the shared memory of a block, see Shape in conv.h.
func (d *Device) convShared(kernel, tile, outs int) int {
	depth, steps, pitch := 8, 3, convPixels/tile*(tile+8)+8
	if d.precision == BF16 {
		depth = 16
	}
	channels := depth
	if kernel == 1 {
		steps, pitch = 2, 136
		channels = 2 * depth
	}
	return convStages * 4 * (steps*outs*8 + channels*pitch)
}

type linearParams struct {
	dst, src, plus  view
	weight, bias    Ptr
	images, in, out int32
}

// linear is the 1×1 convolution of single pixels.
func (d *Device) linear(dst, src, plus compute.Tensor, weight, bias Ptr) {
	p := linearParams{viewOf(dst), viewOf(src), viewOf(plus), weight, bias, int32(dst.N), int32(src.C), int32(dst.C)}
	launch(d, "linear", [3]uint32{uint32(ceil(dst.C, 8)), uint32(ceil(dst.N, 8)), 1}, row(threads), 0, &p)
}
