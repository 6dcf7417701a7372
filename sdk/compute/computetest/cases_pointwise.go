package computetest

import (
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func (s *suite) pointwise() {
	for i, r := range []struct{ n, m, c, h, w int }{ // n images of the destination, m of a source that is repeated
		{4, 2, 3, 5, 7}, {2, 2, 32, 6, 6}, {3, 1, 6, 12, 12}, {1, 1, 96, 8, 8}, {6, 3, 64, 1, 1}, {2, 1, 3, 24, 24}, {1, 1, 3, 64, 64},
	} {
		l, first := layouts[i%len(layouts)], i == 0
		full, fewer := shape{r.n, r.c, r.h, r.w}, shape{r.m, r.c, r.h, r.w}
		s.combine(first, l, full, fewer)
		for _, k := range twoSources {
			for _, in := range [][2]shape{{full, full}, {full, fewer}, {fewer, full}} {
				y := in[1]
				if k.reduce != nil {
					y = k.reduce(y)
				}
				s.binary(first, k, in[0], y, l)
				if full == fewer {
					break
				}
			}
		}
		s.dot(first, full, l, 0)
	}
	s.dot(false, shape{3, 96, 64, 64}, channels, 1)
	s.dot(true, shape{1, 3, 128, 128}, channels, 1)
	s.extremes()
}

// shape is [N, C, H, W].
type shape [4]int

func (s shape) String() string { return fmt.Sprintf("%d×%d×%d×%d", s[0], s[1], s[2], s[3]) }

func (b *bench) draw(s shape) Array { return b.normal(s[0], s[1], s[2], s[3]) }

// kernel2 is a pointwise kernel of two sources.
type kernel2 struct {
	group, name string
	reduce      func(shape) shape // of the second source, nil for the same
	touch       func(Array) Array // applied to the second source, or nil
	ref         func(x, y Array) Array
	run         func(d compute.Device, dst, x, y compute.Tensor)
}

var twoSources = []kernel2{
	{"addchannel", "", func(s shape) shape { return shape{s[0], s[1], 1, 1} }, nil, RefAddChannel,
		func(d compute.Device, dst, x, e compute.Tensor) { d.AddChannel(dst, x, e) }},
	{"mul", "", nil, nil, RefMul, func(d compute.Device, dst, x, y compute.Tensor) { d.Mul(dst, x, y) }},
	{"mul", "one channel, ", func(s shape) shape { return shape{s[0], 1, s[2], s[3]} }, nil, RefMul,
		func(d compute.Device, dst, x, y compute.Tensor) { d.Mul(dst, x, y) }},
	{"clamp-tangent", "", nil, withEdges, clampSlope, func(d compute.Device, dst, g, x compute.Tensor) {
		d.Map(dst, compute.Clamp(lo, hi).Tangent(), x, g)
	}},
}

// binary adds the cases of dst = f(x, y): another destination, and each source
// that has the destination's shape.
func (s *suite) binary(inQuick bool, k kernel2, sx, sy shape, l layout) {
	out := sx
	out[0] = max(sx[0], sy[0])
	for place, in := range []string{"", ", in place of the first", ", in place of the second"} {
		if place == 1 && sx != out || place == 2 && sy != out {
			continue
		}
		s.add(inQuick, k.group, fmt.Sprintf("%s%v and %v, %v%s", k.name, sx, sy, l, in), Ordinary, func(b *bench) float64 {
			x, y := b.draw(sx), b.draw(sy)
			if k.touch != nil {
				y = k.touch(y)
			}
			var t [3]compute.Tensor // destination and sources
			for i, v := range []Array{1: x, 2: y} {
				switch {
				case i == place && i > 0:
					t[i] = b.target(l, v)
					t[0] = t[i]
				case i == place:
					t[0] = b.poisoned(l, out[0], out[1], out[2], out[3])
				case i > 0:
					t[i] = b.source(l, v)
				}
			}
			k.run(b.dev, t[0], t[1], t[2])
			return b.errorOf(t[0], k.ref(x, y))
		})
	}
}

// combine adds sums of one to six terms with coefficients for all images and for
// each, the destination new or one of the terms.
func (s *suite) combine(inQuick bool, l layout, full, fewer shape) {
	for count := 1; count <= 6; count++ {
		for _, in := range slices.Compact([]int{-1, 0, count - 1}) { // which term is the destination
			variant := fmt.Sprintf("%d terms of %v and %d images, %v", count, full, fewer[0], l)
			if in >= 0 {
				variant += fmt.Sprintf(", in place of term %d", in)
			}
			s.add(inQuick, "combine", variant, Ordinary, func(b *bench) float64 {
				var terms []compute.Term
				var refs []RefTerm
				var dst compute.Tensor
				if in < 0 {
					dst = b.poisoned(l, full[0], full[1], full[2], full[3])
				}
				for k := range count {
					from, coef := full, []float64{b.rng.NormFloat64()}
					if k%3 == 1 && k != in {
						from = fewer
					}
					if k%2 == 0 {
						coef = b.normal(full[0], 1, 1, 1).V
					}
					x := b.draw(from)
					var t compute.Tensor
					if k == in {
						dst = b.target(l, x)
						t = dst
					} else {
						t = b.source(l, x)
					}
					terms = append(terms, compute.Term{X: t, Coef: coef})
					refs = append(refs, RefTerm{x, coef})
				}
				b.dev.Combine(dst, terms...)
				return b.errorOf(dst, RefCombine(full[0], refs...))
			})
		}
	}
}

// dot adds inner products, each relative to ‖a‖‖b‖: of one pair and, in one wait, of
// pairs of other lengths and numbers of images. With a mean of one, sums
// that are kept in float32 drift; the bound leaves room for products rounded to
// float32 and no more.
func (s *suite) dot(inQuick bool, of shape, l layout, mean float64) {
	s.add(inQuick, "dot", fmt.Sprintf("%v, mean %g, %v", of, mean, l), 2e-7, func(b *bench) float64 {
		shift := func(v float64) float64 { return float64(float32(v + mean)) }
		x, y := b.draw(of).Map(shift), b.draw(of).Map(shift)
		one, two := b.draw(shape{1, 1, 3, 5}).Map(shift), b.draw(shape{2, 1, 3, 5}).Map(shift)
		dx, dy := b.source(l, x), b.source(l, y)
		got, err := b.dev.Dots([2]compute.Tensor{dx, dy})
		if err != nil {
			b.fail(err)
		}
		several, err := b.dev.Dots([2]compute.Tensor{b.source(l, one), b.source(l, two)}, [2]compute.Tensor{dx, dy}, [2]compute.Tensor{dx, dx})
		if err != nil {
			b.fail(err)
		}
		got = append(got, several...)
		worst := 0.0
		for k, pair := range [][2]Array{{x, y}, {one, two}, {x, y}, {x, x}} {
			want, aa, bb := RefDot(pair[0], pair[1]), RefDot(pair[0], pair[0]), RefDot(pair[1], pair[1])
			if len(got) != 4 || len(got[k]) != len(want) {
				b.fail(fmt.Errorf("%d results for 4 pairs, or not one for each of %d images", len(got), len(want)))
				return math.Inf(1)
			}
			for n := range want {
				worst = max(worst, finite(math.Abs(got[k][n]-want[n])/math.Sqrt(aa[n%len(aa)]*bb[n%len(bb)])))
			}
		}
		return worst
	})
}

// extremes adds equal sources and many values.
func (s *suite) extremes() {
	for _, in := range []string{"", ", in place"} {
		s.add(true, "mul", "square"+in, Ordinary, func(b *bench) float64 {
			x := b.normal(2, 3, 5, 7)
			src := b.target(channels, x)
			dst := src
			if in == "" {
				dst = b.poisoned(channels, 2, 3, 5, 7)
			}
			b.dev.Mul(dst, src, src)
			return b.errorOf(dst, RefMul(x, x))
		})
	}
	s.add(false, "combine", "more values than one dispatch of a GPU has threads", Ordinary, func(b *bench) float64 {
		x := b.normal(1, 70, 256, 256)
		dst := b.target(dense, x)
		b.dev.Combine(dst, compute.Times(-0.5, dst))
		return b.errorOf(dst, RefCombine(1, RefTerm{x, []float64{-0.5}}))
	})
}
