package cpu

import "github.com/cmi-diffusion/cmi/sdk/compute"

// stageFloats bounds the input planes staged at a time, so that they stay in the
// last-level cache.
const stageFloats = 1 << 20

// strip is the rows of one image that are convolved at a time. Its channels are
// planes of rows of pitch values, one zero column between rows, so that the
// operand of a tap at all output positions is one contiguous range.
type strip struct {
	image, from, to int
	planes          []float32
}

// convolution is one call of Conv.
type convolution struct {
	dst, src, add compute.Tensor
	panels, bias  []float32
	in, out       int
	strips        []strip
	taps          []int // offset of each tap in a plane
	width, pitch  int   // values of a row, and distance between rows
	stride        int   // distance between planes

	offsets                 [9]int // what taps views
	perBlock, blocks, split int    // of convStrips
	perTask, groups         int
}

// Conv implements [compute.Linear]. It is an implicit matrix product: the
// columns are positions p = y·pitch + x of the padded image.
func (d *Device) Conv(dst, src compute.Tensor, prepared compute.Weights, mode compute.ConvMode) {
	w, ok := prepared.(*weights)
	if !d.ConvFits(dst, src, prepared, ok, mode) {
		return
	}
	c := &d.conv
	*c = convolution{dst: dst, src: src, add: mode.Add, in: w.shape.In, out: w.shape.Out, strips: c.strips[:0]}
	if mode.Adjoint {
		c.in, c.out = c.out, c.in
	} else if mode.Bias && len(w.bias) > 0 {
		c.bias = w.bias
	}
	if w.shape.Kernel == 3 {
		if kind := d.winogradFor(c.in, c.out, src.H, src.W); kind >= 0 {
			d.convTiled(c, kind, d.tiled(w, kind, mode.Adjoint))
			return
		}
	}
	c.panels = w.forward
	if mode.Adjoint {
		c.panels = w.adjoint()
	}
	switch {
	case w.shape.Kernel == 3:
		d.conv3(c)
	case src.H*src.W == 1:
		d.convVector(c)
	default:
		d.conv1(c)
	}
}

func (d *Device) conv3(c *convolution) {
	h, w := c.src.H, c.src.W
	c.width, c.pitch = w, w+1
	c.taps = c.offsets[:]
	for t := range c.taps {
		c.taps[t] = t/3*c.pitch + t%3
	}
	var rows, batch int
	rows, c.stride, batch = strips(c.in, h, c.pitch)
	perStrip := c.in * c.stride
	stage := d.staged(batch * perStrip)
	for n := range c.src.N {
		for y := 0; y < h; y += rows {
			c.strips = append(c.strips, strip{n, y, min(y+rows, h), stage[len(c.strips)*perStrip:][:perStrip]})
			if last := n == c.src.N-1 && y+rows >= h; len(c.strips) == batch || last {
				d.batches(len(c.strips)*c.in, c.stride, func(d *Device, _ *worker, i int) {
					c := &d.conv
					c.fill(&c.strips[i/c.in], i%c.in)
				})
				d.convStrips(c)
				c.strips = c.strips[:0]
			}
		}
	}
}

// strips returns the rows of a strip, the distance between its planes, and how many strips
// are staged at a time.
func strips(in, h, pitch int) (rows, stride, batch int) {
	rows = min(h, max(4, stageFloats/(in*pitch)-2))
	rows = ceil(h, ceil(h, rows)) // of equal height
	stride = planeStride(ceil(rows*pitch, 16)*16 + 2*pitch + 2)
	return rows, stride, max(1, stageFloats/(in*stride))
}

// planeStride rounds up to whole vectors but keeps off powers of two, whose
// planes would share cache sets.
func planeStride(n int) int {
	n = ceil(n, 16) * 16
	if n%512 == 0 {
		n += 16
	}
	return n
}

// fill copies one channel of a strip into its padded plane, with a row above and
// below.
func (c *convolution) fill(s *strip, channel int) {
	plane := s.planes[channel*c.stride : (channel+1)*c.stride]
	h, w := c.src.H, c.width
	src := image(c.src, s.image)[channel*h*w:][:h*w]
	plane[0] = 0
	for y := s.from - 1; y <= s.to; y++ {
		row := plane[1+(y-s.from+1)*c.pitch:]
		if y < 0 || y >= h {
			clear(row[:c.pitch])
			continue
		}
		copy(row[:w], src[y*w:])
		row[w] = 0
	}
}

func (d *Device) conv1(c *convolution) {
	hw := c.src.H * c.src.W
	c.width, c.pitch, c.stride, c.taps = hw, hw, ceil(hw, 16)*16, one
	// One long row: 1×1 convolutions do not see the image's shape.
	c.src, c.dst = c.src.Reshape(c.in, 1, hw), c.dst.Reshape(c.out, 1, hw)
	if c.stride == hw {
		for n := range c.src.N {
			c.strips = append(c.strips, strip{n, 0, 1, image(c.src, n)})
		}
		d.convStrips(c)
		return
	}
	size := c.in * c.stride
	stage := d.staged(c.src.N * size)
	for n := range c.src.N {
		c.strips = append(c.strips, strip{n, 0, 1, stage[n*size:][:size]})
	}
	d.parallel(len(c.strips), func(d *Device, _ *worker, n int) {
		c := &d.conv
		pad(c.strips[n].planes, image(c.src, n), c.in, c.width, c.stride)
	})
	d.convStrips(c)
}

// blockUnits is the width of a task's output block in units of 16 positions.
const blockUnits = 12

// convStrips convolves the staged strips, of equal size: a task is a block of
// positions of one strip times a range of panels.
func (d *Device) convStrips(c *convolution) {
	positions := (c.strips[0].to - c.strips[0].from) * c.pitch
	units := ceil(positions, 16)
	blocks := ceil(units, blockUnits)
	c.perBlock = ceil(ceil(units, blocks), 3) * 3
	c.blocks = ceil(units, c.perBlock)
	c.groups = ceil(c.out, 8)
	split := min(c.groups, max(1, ceil(8*len(d.pool.workers), len(c.strips)*c.blocks)))
	c.perTask = ceil(c.groups, split)
	c.split = ceil(c.groups, c.perTask)
	d.parallel(len(c.strips)*c.blocks*c.split, func(d *Device, w *worker, i int) {
		c := &d.conv
		s := &c.strips[i/(c.blocks*c.split)]
		p := i / c.split % c.blocks * c.perBlock * 16
		end := min(p+c.perBlock*16, (s.to-s.from)*c.pitch)
		if p >= end { // the last strip may be shorter
			return
		}
		from := i % c.split * c.perTask
		for g := from; g < min(from+c.perTask, c.groups); g++ {
			c.block(d.k, w, s, g, p, end)
		}
	})
}

// block computes positions [p, end) of 8 output channels.
func (c *convolution) block(k *kernels, w *worker, s *strip, group, p, end int) {
	inner := c.in * len(c.taps) * 8
	panel := c.panels[group*inner : (group+1)*inner]
	ld := ceil(end-p, 16) * 16
	tile := w.floats(8 * ld)
	for j := 0; j < ld; {
		nv := vectors(ld - j)
		k.tile(tile[j:], ld, panel, s.planes[p+j:], c.in, c.stride, c.taps, nv, false)
		j += 16 * nv
	}
	hw := c.dst.H * c.dst.W
	dst := image(c.dst, s.image)
	var add []float32
	if c.add.Buf != nil {
		add = image(c.add, s.image)
	}
	w.act = plain
	w.act.q = 1
	for r := range min(8, c.out-group*8) {
		channel := group*8 + r
		if c.bias != nil {
			w.act.c = c.bias[channel]
			w.act.s = c.bias[channel]
		}
		for y := p / c.pitch; y*c.pitch < end; y++ {
			x0, x1 := max(0, p-y*c.pitch), min(c.width, end-y*c.pitch)
			if x0 >= x1 {
				continue
			}
			from := tile[r*ld+y*c.pitch+x0-p:][:x1-x0]
			at := channel*hw + (s.from+y)*c.width
			to := dst[at+x0 : at+x1]
			switch {
			case add != nil:
				k.linear(to, from, add[at+x0:at+x1], &w.act, false)
			case c.bias != nil:
				k.affine(to, from, &w.act)
			default:
				copy(to, from)
			}
		}
	}
}

// convVector is the 1×1 convolution of single pixels, a linear layer: products of panels and
// vectors, the same for any number of images, so that none depends on the others.
func (d *Device) convVector(c *convolution) {
	d.batches(ceil(c.out, 8), 8*c.in*c.src.N, func(d *Device, w *worker, g int) {
		c := &d.conv
		sums := w.floats(8)
		for n := range c.src.N {
			d.k.panel(sums, c.panel(g), image(c.src, n))
			c.store(n, g, sums)
		}
	})
}

// panel returns the weights of a group of 8 output channels of a 1×1 convolution.
func (c *convolution) panel(g int) []float32 { return c.panels[g*8*c.in : (g+1)*8*c.in] }

// store writes a group of an image's single pixel.
func (c *convolution) store(n, g int, sums []float32) {
	to := image(c.dst, n)[g*8 : min(g*8+8, c.out)]
	for r := range to {
		v := sums[r]
		if c.bias != nil {
			v += c.bias[g*8+r]
		}
		if c.add.Buf != nil {
			v += image(c.add, n)[g*8+r]
		}
		to[r] = v
	}
}
