package cpu

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Winograd's minimal filtering F(m×m, 3×3) (Lavin & Gray 2016, "Fast Algorithms
// for Convolutional Neural Networks"): tiles of m×m results of a 3×3 convolution
// from (m + 2)² pixels with as many multiplications, not 9 m²,
//
//	Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A.
//
// Summed over input channels the products are (m + 2)² matrix products.

// scheme is one m.
type scheme struct {
	size   int          // m
	points int          // products of a tile
	run    int          // pixels of four tiles side by side
	cell   int          // pixels of a group
	taps   [][3]float64 // G: of a row of three weights at the points
	most   int          // in·out for each pixel of an image: more weights are too much memory for the time they save
	cost   int          // of a channel's transforms, in multiplications of a group: measured
}

// tileGroup is the tiles that are transformed together: four runs.
const tileGroup = 16

// schemes are F(4×4), for which the points are 0, ±1/√2, ±√2 and ∞, with half
// the rounding error of the usual 0, ±1, ±2, ∞ and about twice that of the direct
// sum; and F(2×2), the points 0, ±1 and ∞, with two thirds of the direct sum's,
// for small maps and many channels, where F(4×4) has too few tiles or its
// weights, four times the direct ones, are too many.
var schemes = [2]scheme{
	{size: 4, points: 36, run: 16, cell: 256, most: 512, cost: 250, taps: [][3]float64{
		{1, 0, 0},
		{-2. / 3, -math.Sqrt2 / 3, -1. / 3},
		{-2. / 3, math.Sqrt2 / 3, -1. / 3},
		{1. / 6, math.Sqrt2 / 6, 1. / 3},
		{1. / 6, -math.Sqrt2 / 6, 1. / 3},
		{0, 0, 1},
	}},
	{size: 2, points: 16, run: 8, cell: 64, most: 2048, cost: 100, taps: [][3]float64{
		{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1},
	}},
}

// stageOf bounds the transformed pixels staged at a time, in values: a core's second
// cache, or as much as the weights that every stage reads again.
func (s *scheme) stageOf(in, out int) int { return max(3<<16, min(2*s.points*in*out, 3<<19)) }

// sizes returns the least size, in·out·pixels of an image, of a convolution in tiles
// of each scheme. F(2×2) is more exact than the direct sum, F(4×4) less: the
// small convolutions of small networks gain too little from it.
// CMI_WINOGRAD=off turns tiles off, to compare.
func sizes() [len(schemes)]int {
	if on, _ := compute.Switch("CMI_WINOGRAD"); !on { // Open has told another value
		return [...]int{math.MaxInt, math.MaxInt}
	}
	return [...]int{1<<20 + 1, 0}
}

// winogradFor returns the scheme's index that is fastest for a convolution of an
// image, or −1 for the direct sum. It does not depend on the number of images,
// so that an image's result does not.
func (d *Device) winogradFor(in, out, h, w int) int {
	out = ceil(out, 8) * 8
	best, least := -1, 0.9*float64(9*in*out*ceil(h*(w+1), 16))
	for i, s := range schemes {
		small := in*out*h*w < d.tileFrom[i]
		tooMany := in*out > s.most*h*w
		if small || tooMany || w%s.run != 0 || h%s.size != 0 || h*w%s.cell != 0 {
			continue // the kernels take whole groups of tiles
		}
		if time := float64(h * w / s.cell * (s.points*in*out + s.cost*(in+out))); time < least {
			best, least = i, time
		}
	}
	return best
}

// tiled returns the transformed weights in panels, [out/8][points][in][8], made when
// first used: a task reads those of its output channels in one direction.
func (d *Device) tiled(w *weights, kind int, adjoint bool) []float32 {
	made := &w.tiled[kind][0]
	in, out := w.shape.In, w.shape.Out
	if adjoint {
		made = &w.tiled[kind][1]
		in, out = out, in
	}
	if *made != nil {
		return *made
	}
	s := &schemes[kind]
	groups := ceil(out, 8)
	u := make([]float32, s.points*groups*in*8)
	d.parallel(groups, func(_ *Device, _ *worker, g int) {
		var values [36]float32
		for o := g * 8; o < min(g*8+8, out); o++ {
			for i := range in {
				var taps [9]float64
				for t := range taps {
					if adjoint {
						taps[8-t] = float64(w.forward[((i/8*w.shape.In+o)*9+t)*8+i%8])
					} else {
						taps[t] = float64(w.forward[((g*in+i)*9+t)*8+o%8])
					}
				}
				s.transformTaps(&values, &taps)
				for p, v := range values[:s.points] {
					u[((g*s.points+p)*in+i)*8+o%8] = v
				}
			}
		}
	})
	*made = u
	return u
}

// transformTaps is G g Gᵀ.
func (s *scheme) transformTaps(u *[36]float32, g *[9]float64) {
	for p, row := range s.taps {
		var half [3]float64
		for x := range half {
			half[x] = row[0]*g[x] + row[1]*g[3+x] + row[2]*g[6+x]
		}
		for q, column := range s.taps {
			u[len(s.taps)*p+q] = float32(column[0]*half[0] + column[1]*half[1] + column[2]*half[2])
		}
	}
}

// tiling is a stage of a convolution: groups [from, from + groups) of tiles, of
// all images one after the other, in blocks.
type tiling struct {
	*convolution
	*scheme
	kernel       transforms
	weights      []float32
	perImage     int       // groups of an image
	from, groups int       //
	blocks       int       // the stage's
	v            []float32 // transformed pixels [block][points][in][tiles]
	vBlock       int       // values of a block of v
	vPoint       int       // values of a point in a block
	pixels       []int     // where each run starts in an image, for all groups
	padded       []int     // the same in a padded image
	first        int       // image of the stage's first group
	chunks, per  int       // of the transform: tasks of an image, channels of a task
	split        int       // of the products: tasks of a block,
	perTask      int       // panels of a task
	panels       int
}

// blockGroups is the most groups of a block, so that a matrix product's columns
// are three vectors of 16.
const blockGroups = 3

// start returns the first group of block b, counted from the stage's first.
func (t *tiling) start(b int) int { return b * t.groups / t.blocks }

func (d *Device) convTiled(c *convolution, kind int, weights []float32) {
	s := &schemes[kind]
	w := c.src.W
	d.tiles = tiling{convolution: c, scheme: s, kernel: d.k.winograd[kind], weights: weights, perImage: c.src.H * w / s.cell}
	t := &d.tiles
	all := c.src.N * t.perImage
	perStage, staged := s.staging(c.in, c.out, all)
	t.vPoint = s.vPoint(c.in)
	t.vBlock = s.points * t.vPoint
	t.v = d.staged(staged)
	t.pixels, t.padded = d.runs(s, t.perImage, w, t.padding(w))
	t.panels = ceil(c.out, 8)
	for t.from = 0; t.from < all; t.from += t.groups {
		t.groups = min(perStage, all-t.from)
		t.blocks = ceil(t.groups, blockGroups)
		if t.groups == blockGroups+1 {
			t.blocks = 1 // two pairs of vectors
		}
		t.first = t.from / t.perImage
		images := (t.from+t.groups-1)/t.perImage - t.first + 1
		// About eight tasks a thread, each of several channels where they are small.
		t.per = max(images*c.in/(8*len(d.pool.workers)), batch/(min(t.groups, t.perImage)*s.cell), 1)
		t.chunks = ceil(c.in, t.per)
		d.parallel(images*t.chunks, func(d *Device, w *worker, i int) {
			t := &d.tiles
			from := i % t.chunks * t.per
			t.transform(w, t.first+i/t.chunks, from, min(from+t.per, t.in))
		})
		split := max(ceil(t.panels, 4), min(t.panels, ceil(4*len(d.pool.workers), t.blocks)))
		t.perTask = ceil(t.panels, split)
		t.split = ceil(t.panels, t.perTask)
		d.parallel(t.blocks*t.split, func(d *Device, w *worker, i int) {
			t := &d.tiles
			panel := i % t.split * t.perTask
			t.multiply(d.k, w, i/t.split, panel, min(t.perTask, t.panels-panel))
		})
	}
}

// staging returns the number of groups of a stage and the values that it stages.
func (s *scheme) staging(in, out, all int) (perStage, floats int) {
	stages := ceil(all, max(blockGroups, s.stageOf(in, out)/(s.points*tileGroup*in)))
	perStage = ceil(all, stages)
	return perStage, max(1, ceil(perStage, blockGroups)) * s.points * s.vPoint(in)
}

// vPoint returns the values of a point in a block.
func (s *scheme) vPoint(in int) int { return in*(blockGroups+1)*tileGroup + 16 } // off powers of two

// padding returns the pitch of an image's rows between zeros.
func (t *tiling) padding(width int) int { return width + 16 }

// runs lists where the runs of an image's groups of tiles start.
func (d *Device) runs(s *scheme, groups, width, pitch int) (pixels, padded []int) {
	n := groups * tileGroup / 4
	if cap(d.index) < 2*n {
		d.index = make([]int, 2*n)
	}
	pixels, padded = d.index[:n], d.index[n:2*n]
	for i := range n {
		y, x := s.size*(s.run*i/width), s.run*i%width
		pixels[i], padded[i] = y*width+x, y*pitch+x
	}
	return pixels, padded
}

// tileScratch is the values of a group that a transform works on.
const tileScratch = 36 * tileGroup

// transform is Bᵀ d B of some channels of an image's tiles in the stage. Their
// rows are copied between zeros first.
func (t *tiling) transform(wk *worker, n, channel, end int) {
	h, w, pitch := t.src.H, t.src.W, t.padding(t.src.W)
	from, to := max(0, t.from-n*t.perImage), min(t.perImage, t.from+t.groups-n*t.perImage)
	line := t.cell / t.size // pixels of a group, one of its rows after the other
	row := from*line/w*t.size - 1
	rows := (to*line-1)/w*t.size + t.size + 1 - row
	scratch := wk.floats(tileScratch + rows*pitch)
	tmp, padded := scratch[:tileScratch], scratch[tileScratch:]
	clear(padded[:pitch])
	clear(padded[(rows-1)*pitch:])
	for y := range rows {
		padded[y*pitch] = 0
		clear(padded[y*pitch+w+1:][:4])
	}
	top, bottom := max(row, 0), min(row+rows, h)
	for ; channel < end; channel++ {
		plane := image(t.src, n)[channel*h*w:][:h*w]
		for y := top; y < bottom; y++ {
			copy(padded[(y-row)*pitch+1:][:w], plane[y*w:])
		}
		for b := range t.blocks {
			first, last := t.start(b), t.start(b+1)
			i, j := max(from, first+t.from-n*t.perImage), min(to, last+t.from-n*t.perImage)
			if i >= j {
				continue
			}
			lane := (i + n*t.perImage - t.from - first) * tileGroup
			v := t.v[b*t.vBlock+channel*(last-first)*tileGroup+lane : (b+1)*t.vBlock]
			t.kernel.in(v, t.vPoint, padded, pitch, t.padded[4*i:4*j], (row+1)*pitch, tmp)
		}
	}
}

// multiply computes the results of so many panels of output channels for the
// tiles of a block.
func (t *tiling) multiply(k *kernels, wk *worker, b, panel, count int) {
	first, last := t.start(b), t.start(b+1)
	ld := (last - first) * tileGroup
	stride := count*8*ld + 16
	scratch := wk.floats(tileScratch + t.points*stride)
	tmp, m := scratch[:tileScratch], scratch[tileScratch:]
	for p := range t.points {
		v := t.v[b*t.vBlock+p*t.vPoint:][:t.in*ld]
		for r := range count {
			u := t.weights[((panel+r)*t.points+p)*t.in*8:][:t.in*8]
			k.gemm(m[p*stride+r*8*ld:], ld, u, 8, v, ld, t.in, ld, false)
		}
	}
	h, w := t.dst.H, t.dst.W
	for g := first; g < last; {
		n, i := (t.from+g)/t.perImage, (t.from+g)%t.perImage
		j := min(t.perImage, i+last-g)
		dst := image(t.dst, n)
		var add []float32
		if t.add.Buf != nil {
			add = image(t.add, n)
		}
		for r := range min(count*8, t.out-panel*8) {
			channel := panel*8 + r
			var bias float32
			if t.bias != nil {
				bias = t.bias[channel]
			}
			plane := channel * h * w
			var also []float32
			if add != nil {
				also = add[plane : plane+h*w]
			}
			t.kernel.out(dst[plane:plane+h*w], w, t.pixels[4*i:4*j], m[r*ld+(g-first)*tileGroup:], stride, tmp, bias, also)
		}
		g += j - i
	}
}
