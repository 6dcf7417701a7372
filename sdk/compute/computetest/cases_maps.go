package computetest

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// mapTrial is a map with its reference and the arguments on which it is tried.
type mapTrial struct {
	compute.Map
	name string                  // of the parameters, before the shapes
	ref  func(x float64) float64 // f
	draw func(Array) Array       // makes arguments of standard normal values; nil leaves them
}

// mapTrials returns trials of every function of package compute. A function without an
// entry in trials is compared with its own definition in float64, at usual parameters.
func mapTrials() (all []mapTrial) {
	trials := map[compute.MapFunc][]mapTrial{
		compute.MapClamp: {{Map: compute.Clamp(lo, hi), ref: clamp(float64(lo), float64(hi)), draw: withEdges}},
		compute.MapExp:   {{Map: compute.Exp(0.5, -0.25), ref: func(x float64) float64 { return math.Exp(0.5*x - 0.25) }}},
		compute.MapPow:   {power(0.5), power(-0.5), power(2), power(-1), power(0.7)},
		compute.MapSiLU:  {{Map: compute.SiLU(), ref: silu, draw: func(x Array) Array { return x.Map(func(v float64) float64 { return 2 * v }) }}},
	}
	for f := range compute.MapFuncs {
		if t := trials[f]; t != nil {
			all = append(all, t...)
			continue
		}
		m := compute.Map{Func: f, P: [3]float32{0.5, 0.25, 0.5}}
		all = append(all, mapTrial{Map: m, ref: func(x float64) float64 { return f.Scalar(0)(x, &m.P) }})
	}
	return all
}

// The bounds of the clamps, as the device sees them.
const lo, hi = float32(-0.7), float32(0.4)

func clamp(lo, hi float64) func(float64) float64 {
	return func(v float64) float64 { return min(max(v, lo), hi) }
}

// withEdges puts both bounds themselves among the values.
func withEdges(x Array) Array {
	x = x.Clone()
	for i := range x.V {
		switch i % 5 {
		case 0:
			x.V[i] = float64(lo)
		case 3:
			x.V[i] = float64(hi)
		}
	}
	return x
}

func power(p float64) mapTrial {
	p = float64(float32(p))
	return mapTrial{compute.Pow(0.5, 0.25, float32(p)), fmt.Sprintf("to the %.2g, ", p),
		func(x float64) float64 { return math.Pow(0.5*x+0.25, p) }, func(x Array) Array { return x.Map(math.Abs) }}
}

// arguments draws the arguments of a trial.
func (t mapTrial) arguments(b *bench, s shape) Array {
	x := b.draw(s)
	if t.draw != nil {
		x = t.draw(x)
	}
	return x
}

// maps adds the cases of all pointwise maps: values, and derivatives of those that
// have two. The clamp's slope is among the maps of two sources.
func (s *suite) maps() {
	for i, r := range []struct{ per, n, c, h, w int }{ // per: destination images, or directions, for each source image
		{3, 2, 3, 5, 7}, {1, 2, 32, 6, 6}, {2, 3, 6, 12, 12}, {1, 2, 64, 1, 1}, {1, 1, 96, 8, 8}, {2, 1, 3, 24, 24}, {1, 1, 3, 64, 64},
	} {
		l, from := layouts[i%len(layouts)], shape{r.n, r.c, r.h, r.w}
		for _, t := range mapTrials() {
			s.value(i == 0, t, from, r.per, l)
			if t.Func.Scalar(2) != nil {
				s.derivatives(i == 0, t.Func.String(), t.name+from.String(), Ordinary, l, steep(r.per), false,
					t.primitive(l, func(b *bench) Array { return t.arguments(b, from) }))
			}
		}
	}
	s.mapExtremes()
}

// value adds the cases of dst = f(x): a new destination with per images for each
// source image, and x itself.
func (s *suite) value(inQuick bool, t mapTrial, from shape, per int, l layout) {
	group := t.Func.String()
	s.add(inQuick, group, fmt.Sprintf("%s%v to %d images, %v", t.name, from, per*from[0], l), Ordinary, func(b *bench) float64 {
		x := t.arguments(b, from)
		dst := b.poisoned(l, per*x.N, x.C, x.H, x.W)
		b.dev.Map(dst, t.Map, b.source(l, x))
		return b.errorOf(dst, x.Repeat(dst.N).Map(t.ref))
	})
	s.add(inQuick, group, fmt.Sprintf("%s%v, %v, in place", t.name, from, l), Ordinary, func(b *bench) float64 {
		x := t.arguments(b, from)
		dst := b.target(l, x)
		b.dev.Map(dst, t.Map, dst)
		return b.errorOf(dst, x.Map(t.ref))
	})
}

// primitive returns a function that draws a point and gives the map at it, for the cases
// of derivatives.
func (t mapTrial) primitive(l layout, draw func(*bench) Array) func(*bench) primitive {
	return func(b *bench) primitive {
		v := draw(b)
		x := b.source(l, v)
		return primitive{
			x: v, out: v.C, ref: func(x Array) Array { return x.Map(t.ref) },
			adjoint: func(dx, dy compute.Tensor, accumulate bool) { b.dev.Map(dx, t.Adjoint(accumulate), x, dy) },
			tangent: func(dst, a compute.Tensor) { b.dev.Map(dst, t.Tangent(), x, a) },
			second:  func(dst, p, q, pq compute.Tensor) { b.dev.Map(dst, t.Second(), x, p, q, pq) },
		}
	}
}

// mapExtremes adds arguments at the ends of the range, and many.
func (s *suite) mapExtremes() {
	silu := mapTrial{Map: compute.SiLU(), ref: silu}
	values := func(group, name string, bound float64, l layout, m compute.Map, ref func(float64) float64, draw func(*bench) Array) {
		s.add(true, group, fmt.Sprintf("%s, %v", name, l), bound, func(b *bench) float64 {
			v := draw(b)
			return b.compare(l, shape{v.N, v.C, v.H, v.W}, Array{}, v, func(dst, src compute.Tensor) { b.dev.Map(dst, m, src) }, v.Map(ref))
		})
	}
	cycle := func(a Array, values ...float64) Array {
		for i := range a.V {
			a.V[i] = float64(float32(values[i%len(values)]))
		}
		return a
	}
	ends := func(*bench) Array { return cycle(NewArray(2, 3, 3, 3), 80, -80, 1e4, -1e4, 0, 20, -20, 100, -100) }
	values("silu", "±80 and ±1e4", Ordinary, padded, silu.Map, silu.ref, ends)
	s.derivatives(true, "silu", "±80 and ±1e4", Ordinary, padded, usual(1), false, silu.primitive(padded, ends))
	s.add(false, "silu", "more values than one dispatch of a GPU has threads", Ordinary, func(b *bench) float64 {
		x := b.normal(1, 70, 256, 256)
		dst := b.poisoned(dense, 1, 70, 256, 256)
		b.dev.Map(dst, silu.Map, b.source(dense, x))
		return b.errorOf(dst, x.Map(silu.ref))
	})
	// exp on GPUs is only exact to 3 + 2·|x| units in the last place.
	values("silu", "tail from −30 to −10", 5e-6, dense, silu.Map, silu.ref, func(b *bench) Array {
		return NewArray(1, 3, 8, 8).Map(func(float64) float64 { return float64(float32(-10 - 20*b.rng.Float64())) })
	})
	// The argument is rounded to 2⁻²⁴·80, and GPUs' exp is exact to 3 + 2·|x| units in
	// the last place.
	for _, sign := range []float32{1, -1} {
		s.add(true, "exp", fmt.Sprintf("from −80 to 80, scale %g", sign), 2e-5, func(b *bench) float64 {
			x := NewArray(1, 3, 6, 6)
			for i := range x.V {
				x.V[i] = float64(float32(-80 + 160*float64(i)/float64(len(x.V)-1)))
			}
			dst := b.poisoned(padded, 1, 3, 6, 6)
			b.dev.Map(dst, compute.Exp(sign, 0), b.source(padded, x))
			got := b.read(dst)
			want := x.Map(func(v float64) float64 { return math.Exp(float64(sign) * v) })
			for i, w := range want.V { // each value counts, not the largest alone
				got.V[i], want.V[i] = got.V[i]/w, 1
			}
			return RelativeError(got.V, want.V)
		})
	}
	values("pow", "zero base", Ordinary, channels, compute.Pow(1, 0, 0.5), math.Sqrt, func(b *bench) Array {
		return b.normal(1, 3, 5, 7).Map(func(v float64) float64 { return max(v, 0) })
	})
	values("clamp", "±1e30 and infinities", 0, padded, compute.Clamp(-1, 1), clamp(-1, 1), func(*bench) Array {
		return cycle(NewArray(1, 1, 2, 3), 1e30, -1e30, math.Inf(1), math.Inf(-1), 0.5, -0.25)
	})
}
