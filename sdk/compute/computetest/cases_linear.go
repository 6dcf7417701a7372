package computetest

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// linearMap is a device's linear map beside the oracle's.
type linearMap struct {
	in, out      shape
	apply        func(b *bench, dst, src compute.Tensor)
	adjoint      func(b *bench, dst, src compute.Tensor)
	ref, refBack func(Array) Array
}

// compare runs one direction of a map and compares it. old is what the
// destination holds and the map adds to, or empty.
func (b *bench) compare(l layout, to shape, old, x Array, run func(dst, src compute.Tensor), ref Array) float64 {
	src := b.source(l, x)
	var dst compute.Tensor
	if old.N > 0 {
		dst = b.target(l, old)
		ref = ref.plus(1, old)
	} else {
		dst = b.poisoned(l, to[0], to[1], to[2], to[3])
	}
	run(dst, src)
	return b.errorOf(dst, ref)
}

// identity is |⟨u, Jv⟩ − ⟨Jᵀu, v⟩|/(‖u‖‖Jv‖), all computed on the device.
func (b *bench) identity(l layout, u, v Array, forward, back func(dst, src compute.Tensor)) float64 {
	du, dv := b.source(l, u), b.source(l, v)
	jv := b.poisoned(l, u.N, u.C, u.H, u.W)
	ju := b.poisoned(l, v.N, v.C, v.H, v.W)
	forward(jv, dv)
	back(ju, du)
	dot := func(x, y compute.Tensor) (sum float64) {
		d, err := compute.Dot(b.dev, x, y)
		if err != nil {
			b.fail(err)
		}
		for _, v := range d {
			sum += v
		}
		return sum
	}
	scale := math.Sqrt(dot(du, du) * dot(jv, jv))
	return finite(math.Abs(dot(du, jv)-dot(ju, dv)) / scale)
}

// finite makes NaN a failure that shows.
func finite(e float64) float64 {
	if math.IsNaN(e) {
		return math.Inf(1)
	}
	return e
}

// linear adds the three cases of a map: value, adjoint, and that they belong
// together. The map's tensors are made inside the case by prepare.
func (s *suite) linear(inQuick bool, group, name string, bound float64, l layout, prepare func(*bench) linearMap) {
	name = fmt.Sprintf("%s, %v", name, l)
	s.add(inQuick, group, name, bound, func(b *bench) float64 {
		m := prepare(b)
		x := b.draw(m.in)
		return b.compare(l, m.out, Array{}, x, func(d, s compute.Tensor) { m.apply(b, d, s) }, m.ref(x))
	})
	s.add(inQuick, group+"-adjoint", name, bound, func(b *bench) float64 {
		m := prepare(b)
		y := b.draw(m.out)
		return b.compare(l, m.in, Array{}, y, func(d, s compute.Tensor) { m.adjoint(b, d, s) }, m.refBack(y))
	})
	s.add(inQuick, group+"-identity", name, bound, func(b *bench) float64 {
		m := prepare(b)
		return b.identity(l, b.draw(m.out), b.draw(m.in),
			func(d, s compute.Tensor) { m.apply(b, d, s) }, func(d, s compute.Tensor) { m.adjoint(b, d, s) })
	})
}

var resamplings = []string{"up2", "sumdown2", "subsample2", "zeroinsert2"}

func (s *suite) resample() {
	for i, r := range []struct{ n, c, h, w int }{ // the low resolution
		{2, 3, 5, 7}, {1, 32, 6, 6}, {3, 6, 12, 12}, {1, 64, 24, 24}, {2, 3, 1, 1}, {1, 96, 8, 8}, {1, 3, 32, 32}, {2, 6, 1, 4},
	} {
		for kind, word := range resamplings {
			kind := compute.Resampling(kind)
			l, scale := layouts[(i+int(kind))%len(layouts)], [...]float32{1, 0.25}[(i+int(kind))%2]
			name := fmt.Sprintf("%s × %g of %d×%d×%d×%d", word, scale, r.n, r.c, r.h, r.w)
			low, high := shape{r.n, r.c, r.h, r.w}, shape{r.n, r.c, 2 * r.h, 2 * r.w}
			m := linearMap{in: low, out: high}
			if kind == compute.SumDown2 || kind == compute.Subsample2 {
				m = linearMap{in: high, out: low}
			}
			m.apply = func(b *bench, dst, src compute.Tensor) { b.dev.Resample(dst, src, kind, scale, false) }
			m.adjoint = func(b *bench, dst, src compute.Tensor) { b.dev.Resample(dst, src, kind.Adjoint(), scale, false) }
			m.ref = func(x Array) Array { return RefResample(x, kind, float64(scale)) }
			m.refBack = func(y Array) Array { return RefResample(y, kind.Adjoint(), float64(scale)) }
			s.linear(i == 0, "resample", name, Ordinary, l, func(*bench) linearMap { return m })
			s.add(i == 0, "resample", name+", accumulate", Ordinary, func(b *bench) float64 {
				x := b.draw(m.in)
				old := b.draw(m.out)
				return b.compare(l, m.out, old, x, func(dst, src compute.Tensor) {
					b.dev.Resample(dst, src, kind, scale, true)
				}, m.ref(x))
			})
		}
	}
}

func (s *suite) separable() {
	for i, r := range []struct{ n, c, h, w, toH, toW int }{
		{2, 3, 5, 7, 3, 4}, {1, 3, 64, 64, 16, 16}, {3, 6, 6, 6, 12, 9}, {1, 32, 8, 8, 8, 8}, {2, 3, 1, 1, 1, 1},
		{1, 3, 16, 16, 64, 64}, {2, 3, 24, 24, 6, 6}, {1, 96, 12, 12, 5, 1}, {1, 6, 1, 7, 3, 2}, {3, 3, 64, 64, 64, 64},
	} {
		l := layouts[i%len(layouts)]
		name := fmt.Sprintf("%d×%d×%d×%d to %d×%d", r.n, r.c, r.h, r.w, r.toH, r.toW)
		prepare := func(b *bench) linearMap {
			left := normal(b.rng, 1/math.Sqrt(float64(r.h)), 0, 1, 1, r.toH, r.h)
			right := normal(b.rng, 1/math.Sqrt(float64(r.w)), 0, 1, 1, r.toW, r.w)
			tl, tr := b.source(l, left), b.source(l, right)
			bl, br := b.source(l, RefTranspose(left)), b.source(l, RefTranspose(right))
			return linearMap{
				in: shape{r.n, r.c, r.h, r.w}, out: shape{r.n, r.c, r.toH, r.toW},
				apply:   func(b *bench, dst, src compute.Tensor) { b.dev.Separable(dst, src, tl, tr, false) },
				adjoint: func(b *bench, dst, src compute.Tensor) { b.dev.Separable(dst, src, bl, br, false) },
				ref:     func(x Array) Array { return RefSeparable(x, left, right) },
				refBack: func(y Array) Array { return RefSeparable(y, RefTranspose(left), RefTranspose(right)) },
			}
		}
		s.linear(i == 0, "separable", name, Products, l, prepare)
		s.add(i == 0, "separable", name+", accumulate", Products, func(b *bench) float64 {
			left, right := b.normal(1, 1, r.toH, r.h), b.normal(1, 1, r.toW, r.w)
			tl, tr := b.source(l, left), b.source(l, right)
			x, old := b.normal(r.n, r.c, r.h, r.w), b.normal(r.n, r.c, r.toH, r.toW)
			return b.compare(l, shape{}, old, x, func(dst, src compute.Tensor) {
				b.dev.Separable(dst, src, tl, tr, true)
			}, RefSeparable(x, left, right))
		})
	}
}

func (s *suite) correlate() {
	for i, r := range []struct{ n, c, h, w, kh, kw int }{
		{2, 3, 5, 7, 9, 13}, // the largest that reflection allows
		{1, 6, 6, 6, 3, 3}, {3, 3, 12, 12, 5, 3}, {1, 32, 8, 8, 1, 7}, {2, 3, 1, 1, 1, 1},
		{1, 3, 24, 24, 15, 15}, {1, 3, 64, 64, 13, 13}, {2, 3, 7, 5, 3, 1}, {1, 96, 6, 6, 3, 5},
		{1, 3, 5, 7, 21, 15}, // wraps around more than once: circular alone
	} {
		for border, word := range []string{"reflect", "circular"} {
			border := compute.Border(border)
			if border == compute.Reflect && (r.kh/2 >= r.h || r.kw/2 >= r.w) {
				continue
			}
			l := layouts[(i+int(border))%len(layouts)]
			name := fmt.Sprintf("%s %d×%d on %d×%d×%d×%d", word, r.kh, r.kw, r.n, r.c, r.h, r.w)
			s.linear(i == 0, "correlate", name, Products, l, func(b *bench) linearMap {
				kernel := normal(b.rng, 1/math.Sqrt(float64(r.kh*r.kw)), 0, 1, 1, r.kh, r.kw)
				tk := b.source(l, kernel)
				all := shape{r.n, r.c, r.h, r.w}
				return linearMap{
					in: all, out: all,
					apply:   func(b *bench, dst, src compute.Tensor) { b.dev.Correlate(dst, src, tk, border, false) },
					adjoint: func(b *bench, dst, src compute.Tensor) { b.dev.Correlate(dst, src, tk, border, true) },
					ref:     func(x Array) Array { return RefCorrelate(x, kernel, border) },
					refBack: func(y Array) Array { return RefCorrelateAdjoint(y, kernel, border) },
				}
			})
		}
	}
}
