package cuda

import "github.com/cmi-diffusion/cmi/sdk/compute"

// mapParams mirrors the struct Map of map.cu.
type mapParams struct {
	dst, x, a, b, ab  view
	length, wide, add int32
	p0, p1, p2        float32
}

// Map implements [compute.Pointwise].
func (d *Device) Map(dst compute.Tensor, m compute.Map, sources ...compute.Tensor) {
	if !d.MapFits(dst, m, sources) {
		return
	}
	p := mapParams{dst: viewOf(dst), length: int32(dst.Len()), add: flag(m.Accumulate), p0: m.P[0], p1: m.P[1], p2: m.P[2]}
	p.wide = wide(dst.Len(), append(sources, dst)...)
	for i, v := range []*view{&p.x, &p.a, &p.b, &p.ab} {
		v.count = 1
		if i < len(sources) {
			*v = viewOf(sources[i])
		}
	}
	launch(d, m.Kernel(), over(dst.Len(), dst.N, p.wide), row(threads), 0, &p)
}

// combineImages is the number of images of one launch, combine_images in combine.cu.
const combineImages = 32

type combineParams struct {
	dst                        view
	x                          [6]view
	terms, first, length, wide int32
	coef                       [combineImages * 6]float32
}

// Combine implements [compute.Pointwise].
func (d *Device) Combine(dst compute.Tensor, terms ...compute.Term) {
	if !d.CombineFits(dst, terms) {
		return
	}
	p := combineParams{dst: viewOf(dst), terms: int32(len(terms)), length: int32(dst.Len()), wide: wide(dst.Len(), dst)}
	for k, t := range terms {
		p.x[k] = viewOf(t.X)
		p.wide = min(p.wide, wide(dst.Len(), t.X))
	}
	for first := 0; first < dst.N; first += combineImages {
		images := min(combineImages, dst.N-first)
		p.first = int32(first)
		for n := range images {
			for k, t := range terms {
				p.coef[n*6+k] = float32(t.Coef[(first+n)%len(t.Coef)])
			}
		}
		launch(d, "combine", over(dst.Len(), images, p.wide), row(threads), 0, &p)
	}
}

type addChannelParams struct {
	dst, x, e            view
	length, pixels, wide int32
}

// AddChannel implements [compute.Pointwise].
func (d *Device) AddChannel(dst, x, e compute.Tensor) {
	if !d.AddChannelFits(dst, x, e) {
		return
	}
	pixels := dst.H * dst.W
	p := addChannelParams{viewOf(dst), viewOf(x), viewOf(e), int32(dst.Len()), int32(pixels), wide(pixels, dst, x)}
	launch(d, "addchannel", over(dst.Len(), dst.N, p.wide), row(threads), 0, &p)
}

type mulParams struct {
	dst, a, b                     view
	length, channel, repeat, wide int32
}

// Mul implements [compute.Pointwise].
func (d *Device) Mul(dst, a, b compute.Tensor) {
	if !d.MulFits(dst, a, b) {
		return
	}
	repeat := dst.C / b.C
	p := mulParams{viewOf(dst), viewOf(a), viewOf(b), int32(b.Len()), int32(b.Len()), int32(repeat), wide(b.Len(), dst, a, b)}
	launch(d, "mul", over(b.Len(), dst.N, p.wide), row(threads), 0, &p)
}

// dotPiece is the values that a block adds up, dot_piece in dot.cu. dotShared is the bytes
// of shared memory for the float64 sums of 32 warps.
const dotPiece, dotShared = 8192, 8 * 32

type dotParams struct {
	a, b           view
	sums           Ptr
	length, pieces int32
}

// Dots implements [compute.Pointwise].
func (d *Device) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	if !d.DotsFit(pairs) {
		return nil, d.Err()
	}
	// A pair's partial sums are followed by its results.
	counts := make([]int, len(pairs))
	all := 0
	for k, p := range pairs {
		counts[k] = compute.Larger(p).N * (ceil(p[0].Len(), dotPiece) + 1)
		all += counts[k]
	}
	sums := d.temporary(8 * all)
	at := sums
	for k, pair := range pairs {
		images, pieces := uint32(compute.Larger(pair).N), ceil(pair[0].Len(), dotPiece)
		p := dotParams{viewOf(pair[0]), viewOf(pair[1]), at, int32(pair[0].Len()), int32(pieces)}
		launch(d, "dot", [3]uint32{uint32(pieces), images, 1}, row(threads), dotShared, &p)
		launch(d, "dot_sum", [3]uint32{images, 1, 1}, row(threads), dotShared, &p)
		at += 8 * Ptr(counts[k])
	}
	host := make([]float64, all)
	if d.Err() == nil && all > 0 {
		d.Fail(d.driver.Download(bytesOf(host), sums))
	}
	if d.Err() != nil {
		return nil, d.Err()
	}
	dots := make([][]float64, len(pairs))
	for k, p := range pairs {
		dots[k] = host[counts[k]-compute.Larger(p).N : counts[k]]
		host = host[counts[k]:]
	}
	return dots, nil
}
