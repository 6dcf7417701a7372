package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// convolution is one call of Conv.
type convolution struct {
	dst, src, add compute.Tensor
	w, bias       *block
	perImage      int     // weights between one image's and the next's, where each has its own
	largest       float32 // magnitude of a weight
	params        []parameter
}

// Conv implements [compute.Linear].
func (d *Device) Conv(dst, src compute.Tensor, prepared compute.Weights, mode compute.ConvMode) {
	w, ok := prepared.(*weights)
	ok = ok && w.dev == d
	if !d.ConvFits(dst, src, prepared, ok, mode) {
		return
	}
	c := convolution{dst: dst, src: src, w: w.directly(mode.Adjoint), bias: w.bias, largest: w.largest}
	if c.w == nil {
		return
	}
	biased := 0 // the bias has as many values as the forward map has outputs: the adjoint must not read it
	if mode.Bias && !mode.Adjoint {
		biased = 1
	}
	added := 1
	if c.add = mode.Add; c.add.Buf == nil {
		c.add, added = dst, 0
	}
	c.params = []parameter{u("inputs", src.C), u("outputs", dst.C), u("quads", ceil(dst.C, 4)), u("biased", biased), u("added", added)}
	if w.shape.Kernel == 1 && src.H*src.W == 1 {
		d.linear(&c)
		return
	}
	if w.shape.Kernel == 3 {
		if kind := d.winogradFor(src.C, dst.C, dst.H, dst.W); kind >= 0 {
			d.convWinograd(&c, schemes[kind], w.transformed(kind, mode.Adjoint))
			return
		}
	}
	if v := d.variant(&c, w.shape.Kernel); d.Err() == nil {
		v.run(d, &c, v)
	}
}

// args returns the arguments of every kernel; input is the images or a padded copy.
func (c *convolution) args(input argument) []argument {
	return []argument{out("dst", c.dst), input, in("add", c.add),
		{name: "w", block: c.w, vectors: true}, {name: "bias", block: c.bias, vectors: true}}
}

// variant is one way to compute a convolution. All sum in the same order: input
// channels, then taps.
type variant struct {
	kernel int // 1 or 3
	run    func(d *Device, c *convolution, v *variant)
	ints   []integer
	size   [2]int // rows and columns, or pixels, of a tile
	quads  int    // of output channels
	// what a workgroup takes; 0 for kernels in registers alone
	invocations, storage int
	half                 bool // tiles of f16
}

// registers returns a variant of conv.wgsl, whose invocations compute 4·quads channels
// at high×wide pixels.
func registers(kernel, quads, high, wide int) *variant {
	v := &variant{kernel: kernel, run: (*Device).conv3, quads: quads, size: [2]int{high, wide},
		ints: []integer{{"QUADS", quads}, {"HIGH", high}, {"WIDE", wide}}}
	if kernel == 1 {
		v.run = (*Device).conv1
	}
	return v
}

// tiled3 and tiled1 are variants of conv_tiled.wgsl.
func tiled3(quads, down, across, chunk int) *variant {
	return &variant{kernel: 3, run: (*Device).convTiled, quads: quads, size: [2]int{2 * down, 4 * across},
		ints:        []integer{{"QUADS", quads}, {"DOWN", down}, {"ACROSS", across}, {"CHUNK", chunk}},
		invocations: quads * down * across, storage: 4*chunk*(2*down+2)*(4*across+2) + 16*quads*chunk*9}
}

func tiled1(quads, runs, chunk int) *variant {
	return &variant{kernel: 1, run: (*Device).convTiled, quads: quads, size: [2]int{1, 8 * runs},
		ints:        []integer{{"QUADS", quads}, {"RUNS", runs}, {"CHUNK", chunk}},
		invocations: quads * runs, storage: 4*chunk*8*runs + 16*quads*chunk}
}

// halved returns a tiled variant with tiles of f16.
func halved(v *variant) *variant {
	v.half, v.storage = true, v.storage/2
	return v
}

// The variants, the usually best one of each kernel first. Software adapters have
// no fast workgroup memory, and compile large register blocks slowly.
var (
	softwareVariants = []*variant{registers(3, 1, 4, 4), registers(3, 1, 2, 4), registers(1, 2, 1, 8), registers(1, 1, 1, 4)}
	hardwareVariants = []*variant{
		tiled3(16, 4, 4, 4), tiled3(16, 4, 2, 4), tiled3(8, 8, 4, 4), tiled3(16, 2, 1, 4), registers(3, 1, 2, 4),
		tiled1(16, 16, 16), tiled1(16, 8, 16), tiled1(8, 8, 32), registers(1, 2, 1, 8),
	}
	// In registers f16 would save nothing: they hold what has come from memory as float32.
	f16Variants = []*variant{
		halved(tiled3(16, 4, 4, 8)), halved(tiled3(16, 4, 2, 8)), halved(tiled3(8, 8, 4, 8)), halved(tiled3(4, 4, 4, 8)),
		halved(tiled1(16, 16, 32)), halved(tiled1(16, 8, 32)), halved(tiled1(8, 8, 32)),
	}
)

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

// conv3 queues a 3×3 convolution in registers, from a padded copy of the input.
func (d *Device) conv3(c *convolution, v *variant) {
	h, w := c.dst.H, c.dst.W
	down, across := ceil(h, v.size[0]), ceil(w, v.size[1])
	rows, row := down*v.size[0]+2, across*v.size[1]+2
	perImage := c.src.C * rows * row
	batch := max(1, min(c.src.N, stageFloats/perImage))
	padded := d.scratched(0, batch*perImage)
	if padded == nil {
		return
	}
	for n := 0; n < c.src.N; n += batch {
		some := min(batch, c.src.N-n)
		d.planes(call{
			kernel: "conv", entry: "stage",
			args: []argument{in("x", c.src), {name: "padded", block: padded, writes: true}},
			params: []parameter{u("image", n), u("channels", c.src.C), u("width", w), u("height", h),
				u("row", row), u("rows", rows)},
			work: 2 * pointwiseWork * float64(some*perImage),
		}, ceil(row, 4), rows, some*c.src.C)
		tiles := some * down * across
		d.invocations(call{
			kernel: "conv", entry: "conv3", ints: v.ints, args: c.args(argument{name: "padded", block: padded}),
			params: append([]parameter{u("image", n), u("tiles", tiles), u("across", across), u("down", down),
				u("row", row), u("plane", rows*row), u("width", w), u("height", h)}, c.params...),
		}, tiles*ceil(ceil(c.dst.C, 4), v.quads), float64(18*4*v.quads*v.size[0]*v.size[1]*c.src.C))
	}
}

// conv1 queues a 1×1 convolution in registers.
func (d *Device) conv1(c *convolution, v *variant) {
	pixels := c.dst.H * c.dst.W
	tiles := ceil(pixels, v.size[1])
	d.invocations(call{
		kernel: "conv", entry: "conv1", ints: v.ints, args: c.args(in("x", c.src)),
		params: append([]parameter{u("tiles", tiles), u("images", c.dst.N), u("pixels", pixels), u("w_image", c.perImage)}, c.params...),
	}, tiles*c.dst.N*ceil(ceil(c.dst.C, 4), v.quads), float64(2*4*v.quads*v.size[1]*c.src.C))
}

// linear queues a 1×1 convolution of single pixels.
func (d *Device) linear(c *convolution) {
	wide := min(4, c.dst.N)
	if wide > 1 {
		wide = 4
	}
	tiles := ceil(c.dst.C, 4)
	d.invocations(call{
		kernel: "conv", entry: "linear", ints: []integer{{"WIDE", wide}}, args: c.args(in("x", c.src)),
		params: append([]parameter{u("tiles", tiles), u("images", c.dst.N)}, c.params...),
	}, tiles*ceil(c.dst.N, wide), float64(2*4*wide*c.src.C))
}

// convTiled queues a convolution in tiles that workgroups share.
func (d *Device) convTiled(c *convolution, v *variant) {
	h, w, kernel, entry := c.dst.H, c.dst.W, "conv_tiled", "tiled3"
	if v.kernel == 1 {
		h, w, entry = 1, c.dst.H*c.dst.W, "tiled1"
	}
	var extra []argument
	params := c.params
	if v.half {
		peaks, parts := d.peaks(c.src)
		if peaks == nil {
			return
		}
		kernel, extra = "conv_tiled_f16", []argument{{name: "peaks", block: peaks}}
		params = append([]parameter{u("parts", parts), f("largest", c.largest)}, params...)
	}
	across, blocks := ceil(w, v.size[1]), ceil(ceil(c.dst.C, 4), v.quads)
	tiles := across * ceil(h, v.size[0])
	perBlock := 2 * float64(v.kernel*v.kernel*c.src.C*4*v.quads) * float64(tiles*v.size[0]*v.size[1])
	images := min(d.limits.MaxWorkgroups, max(1, int(d.submitWork()/perBlock)/blocks))
	some := max(1, min(blocks, int(d.submitWork()/perBlock)))
	shared := *c
	for n := 0; n < c.dst.N; n += images {
		last := min(n+images, c.dst.N)
		shared.dst, shared.src = c.dst.Images(n, last), c.src.Images(n, last)
		if shared.add = c.add; c.add.N == c.dst.N {
			shared.add = c.add.Images(n, last)
		}
		for b := 0; b < blocks; b += some {
			count := min(some, blocks-b)
			d.run(call{
				kernel: kernel, entry: entry, ints: v.ints, args: append(shared.args(in("x", shared.src)), extra...),
				params: append([]parameter{u("first", b), u("image", n), u("w_first", n*c.perImage), u("w_image", c.perImage), u("across", across), u("width", w), u("height", h), u("pixels", w)}, params...),
				groups: [3]int{tiles, count, last - n}, work: perBlock * float64(count*(last-n)),
			})
		}
	}
}

// The parts of an image whose largest values are found apart, and the values that
// make another worth while.
const mostPeaks, peakFloats = 128, 4096

// peaks queues the search for the largest magnitudes of each image's parts; nil after
// a failure.
func (d *Device) peaks(x compute.Tensor) (peaks *block, parts int) {
	parts = min(mostPeaks, ceil(x.Len(), peakFloats))
	if peaks = d.scratched(0, x.N*parts); peaks != nil {
		d.run(call{
			kernel: "peaks", entry: "peaks", args: []argument{{name: "peaks", block: peaks, writes: true}, in("x", x)},
			params: []parameter{u("len", x.Len()), u("parts", parts)},
			groups: [3]int{parts, x.N, 1}, work: pointwiseWork * float64(x.N*x.Len()),
		})
	}
	return peaks, parts
}
