package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Conv implements [compute.Linear].
func (d *Device) Conv(dst, src compute.Tensor, prepared compute.Weights, mode compute.ConvMode) {
	w, ok := prepared.(*weights)
	ok = ok && w.dev == d
	if !d.ConvFits(dst, src, prepared, ok, mode) {
		return
	}
	c := convolution{dst: dst, src: src, w: w.directly(mode.Adjoint), bias: w.bias}
	if c.w == nil {
		return
	}
	c.params = []parameter{u("inputs", src.C), u("outputs", dst.C)}
	if mode.Bias && !mode.Adjoint {
		c.params = append(c.params, f("biased", 1))
	} else {
		c.params = append(c.params, f("biased", 0))
	}
	if c.add = mode.Add; c.add.Buf == nil {
		c.add = dst
		c.params = append(c.params, u("added", 0))
	} else {
		c.params = append(c.params, u("added", 1))
	}
	switch {
	case w.shape.Kernel == 3:
		d.conv3(&c)
	case src.H*src.W == 1:
		d.linear(&c)
	default:
		d.conv1(&c)
	}
}

// convolution is one call of Conv.
type convolution struct {
	dst, src, add compute.Tensor
	w, bias       *block
	params        []parameter
}

// args is the arguments of every kernel, the input apart.
func (c *convolution) args(input argument) []argument {
	return []argument{out("dst", c.dst), input, in("add", c.add),
		{name: "w", block: c.w, vectors: true}, {name: "bias", block: c.bias, vectors: true}}
}

// blockOf is the register block of a direct kernel: 4·quads channels at high×wide
// pixels.
type blockOf struct{ quads, high, wide int }

func (b blockOf) ints() []integer {
	return []integer{{"QUADS", b.quads}, {"HIGH", b.high}, {"WIDE", b.wide}}
}

// invocations queues a kernel of so many invocations, each of that much work, in
// dispatches that are not too long.
func (d *Device) invocations(c call, count int, each float64) {
	params := c.params
	most := max(workgroup, int(d.submitWork()/each)/workgroup*workgroup)
	for first := 0; first < count; first += most {
		last := min(count, first+most)
		part := c
		part.params = append([]parameter{u("first", first), u("last", last)}, params...)
		groups := ceil(last-first, workgroup)
		part.groups = [3]int{groups, 1, 1}
		if groups > d.limits.MaxWorkgroups {
			part.groups = [3]int{d.limits.MaxWorkgroups, ceil(groups, d.limits.MaxWorkgroups), 1}
		}
		part.work = each * float64(last-first)
		d.run(part)
	}
}

// stageFloats bounds the padded input of a 3×3 convolution that is staged at a time.
const stageFloats = 16 << 20

func (d *Device) conv3(c *convolution) {
	h, w := c.dst.H, c.dst.W
	b := blockOf{1, 4, 4}
	if h*w <= 64 {
		b = blockOf{1, 2, 4}
	}
	down, across := ceil(h, b.high), ceil(w, b.wide)
	rows, row := down*b.high+2, across*b.wide+2
	perImage := c.src.C * rows * row
	batch := max(1, min(c.src.N, stageFloats/perImage))
	padded := d.scratched(0, batch*perImage)
	if padded == nil {
		return
	}
	quads := ceil(ceil(c.dst.C, 4), b.quads)
	for n := 0; n < c.src.N; n += batch {
		some := min(batch, c.src.N-n)
		d.planes(call{
			kernel: "conv", entry: "stage",
			args: []argument{in("x", c.src), {name: "padded", block: padded, writes: true}},
			params: []parameter{u("image", n), u("channels", c.src.C), u("width", w), u("height", h),
				u("row", row), u("rows", rows)},
			work: 2 * pointwiseWork * float64(some*perImage),
		}, row, rows, some*c.src.C)
		tiles := some * down * across
		d.invocations(call{
			kernel: "conv", entry: "conv3", ints: b.ints(), args: c.args(argument{name: "padded", block: padded}),
			params: append([]parameter{u("image", n), u("tiles", tiles), u("across", across), u("down", down),
				u("row", row), u("plane", rows*row), u("width", w), u("height", h)}, c.params...),
		}, tiles*quads, float64(18*4*b.quads*b.high*b.wide*c.src.C))
	}
}

func (d *Device) conv1(c *convolution) {
	pixels := c.dst.H * c.dst.W
	b := blockOf{2, 1, 8}
	tiles := ceil(pixels, b.wide)
	d.invocations(call{
		kernel: "conv", entry: "conv1", ints: b.ints(), args: c.args(in("x", c.src)),
		params: append([]parameter{u("tiles", tiles), u("images", c.dst.N), u("pixels", pixels)}, c.params...),
	}, tiles*c.dst.N*ceil(ceil(c.dst.C, 4), b.quads), float64(2*4*b.quads*b.wide*c.src.C))
}

func (d *Device) linear(c *convolution) {
	b := blockOf{1, 1, 4}
	if c.dst.N == 1 {
		b.wide = 1
	}
	tiles := ceil(c.dst.C, 4)
	d.invocations(call{
		kernel: "conv", entry: "linear", ints: b.ints(), args: c.args(in("x", c.src)),
		params: append([]parameter{u("tiles", tiles), u("images", c.dst.N)}, c.params...),
	}, tiles*ceil(c.dst.N, b.wide), float64(2*4*b.wide*c.src.C))
}
