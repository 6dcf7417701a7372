package wgsl

// scheme is one m of Winograd's F(m×m, 3×3), see winograd.wgsl.
type scheme struct {
	size, points int
	most         int // of in·out for each pixel of an image: more weights are too much memory for the time they save
}

var schemes = [...]scheme{{4, 6, 512}, {2, 4, 2048}}

// leastTiled is the least in·out·pixels of a convolution in tiles: a small one gains
// nothing from fewer multiplications and more dispatches.
const leastTiled = 1<<20 + 1

func (s scheme) ints() []integer { return []integer{{"SIZE", s.size}, {"POINTS", s.points}} }

// A value that is read or written costs as much as so many multiplications.
const softwareTransform, hardwareTransform = 25, 80

// winogradFor returns the index of the scheme for a 3×3 convolution of an image, or −1
// for the direct sum. It depends on the shape and the kind of adapter alone, not on
// the number of images or on a trial, so that an image's result does not.
func (d *Device) winogradFor(in, out, h, w int) int {
	transform := hardwareTransform
	if d.limits.Software {
		transform = softwareTransform
	}
	best, least := -1, 0.9*float64(9*in*out*h*w)
	for i, s := range schemes {
		if !d.tiles || in*out*h*w < leastTiled || in*out > s.most*h*w {
			continue
		}
		tiles := ceil(h, s.size) * ceil(w, s.size)
		if cost := float64(s.points * s.points * tiles * (in*out + transform*(in+out))); cost < least {
			best, least = i, cost
		}
	}
	return best
}

// transformed returns the weights at the points, [points²][out/4][in] vectors of four
// output channels, made when first used; nil after a failure.
func (w *weights) transformed(kind int, adjoint bool) *block {
	made := &w.tiled[kind][0]
	inputs, outputs := w.shape.In, w.shape.Out
	if adjoint {
		made = &w.tiled[kind][1]
		inputs, outputs = outputs, inputs
	}
	direct := w.directly(adjoint)
	if *made != nil || direct == nil {
		return *made
	}
	s, each := schemes[kind], ceil(outputs, 8)*2*inputs
	b, err := w.dev.acquire(16 * s.points * s.points * each)
	if err != nil {
		w.dev.Fail(err)
		return nil
	}
	w.dev.now(func() {
		w.dev.invocations(call{
			kernel: "winograd", entry: "weights", ints: s.ints(),
			args:   []argument{{name: "u", block: b, vectors: true, writes: true}, {name: "w", block: direct, vectors: true}},
			params: []parameter{u("each", each)},
		}, each, 500)
	})
	*made = b
	return b
}

// stagedFloats bounds the transformed pixels, and the products, that are staged at a
// time: the tiles of some images, or some of one image's.
const stagedFloats = 16 << 20

// The scratch of a convolution in tiles.
const (
	pixelsScratch = iota
	productsScratch
)

// convWinograd queues a 3×3 convolution in tiles.
func (d *Device) convWinograd(c *convolution, s scheme, weights *block) {
	if weights == nil {
		return
	}
	h, w, inputs, outputs := c.dst.H, c.dst.W, c.src.C, c.dst.C
	across, points := ceil(w, s.size), s.points*s.points
	each := ceil(h, s.size) * across
	all, most := c.src.N*each, max(1, d.staged/(points*max(inputs, outputs)))
	for first := 0; first < all; first += most {
		tiles := min(most, all-first)
		v := d.temporary(pixelsScratch, points, inputs, 1, tiles)
		m := d.temporary(productsScratch, points, outputs, 1, tiles)
		if v.Buf == nil || m.Buf == nil {
			return
		}
		params := []parameter{u("tile", first), u("tiles", tiles), u("each", each), u("across", across), u("height", h), u("width", w)}
		d.invocations(call{
			kernel: "winograd", entry: "tiles_in", ints: s.ints(),
			args:   []argument{{name: "v", block: v.Buf.(*buffer).block, writes: true}, in("x", c.src)},
			params: append([]parameter{u("channels", inputs)}, params...),
		}, tiles*inputs, float64(2*points*pointwiseWork))
		product := convolution{dst: m, src: v, add: m, w: weights, bias: c.bias, params: []parameter{
			u("inputs", inputs), u("outputs", outputs), u("quads", ceil(outputs, 4)), u("biased", 0), u("added", 0)}, perImage: ceil(outputs, 8) * 2 * inputs}
		inner := d.variant(&product, 1)
		inner.run(d, &product, inner)
		d.invocations(call{
			kernel: "winograd", entry: "tiles_out", ints: s.ints(),
			args: []argument{out("dst", c.dst), {name: "m", block: m.Buf.(*buffer).block}, in("add", c.add),
				{name: "bias", block: c.bias}},
			params: append(params, c.params...),
		}, tiles*outputs, float64((points+2*s.size*s.size)*pointwiseWork))
	}
}
