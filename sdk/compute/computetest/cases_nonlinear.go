package computetest

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// usual probes a function of unit scale.
func usual(per int) direction { return direction{per, 1, 0.1} }

// steep probes a function whose higher derivatives are larger, as those of an attention are, where a
// direction moves the scores of all pixels.
func steep(per int) direction { return direction{per, 1, 0.04} }

// normCase is a group normalisation on the device and in the oracle.
type normCase struct {
	groups      int
	scale, silu bool
}

func (c normCase) on(b *bench, l layout, x Array) (compute.Norm, RefNorm) {
	gamma, beta := normal(b.rng, 0.3, 1, 1, x.C, 1, 1), normal(b.rng, 0.3, 0, 1, x.C, 1, 1)
	const eps = float32(1e-5)
	p := compute.Norm{Groups: c.groups, Eps: eps, SiLU: c.silu, Gamma: b.source(l, gamma), Beta: b.source(l, beta)}
	ref := RefNorm{Groups: c.groups, Eps: float64(eps), SiLU: c.silu, Gamma: gamma.V, Beta: beta.V}
	if c.scale {
		ref.Scale, ref.Shift = normal(b.rng, 0.3, 0, x.N, x.C, 1, 1), normal(b.rng, 0.3, 0, x.N, x.C, 1, 1)
		p.Scale, p.Shift = b.source(l, ref.Scale), b.source(l, ref.Shift)
	}
	return p, ref
}

// group adds the cases of one normalisation.
func (s *suite) group(inQuick bool, name string, bound float64, l layout, d direction, heavy bool, c normCase, draw func(*bench) Array) {
	name = fmt.Sprintf("%s in %d groups", name, c.groups)
	if c.scale {
		name += ", scale-shift"
	}
	if c.silu {
		name += ", SiLU"
	}
	s.add(inQuick, "groupnorm", fmt.Sprintf("%s, %v", name, l), bound, func(b *bench) float64 {
		v := draw(b)
		p, ref := c.on(b, l, v)
		want, wantStats := RefGroupNorm(v, ref)
		dst, stats := b.poisoned(l, v.N, v.C, v.H, v.W), b.poisoned(l, v.N, 2*c.groups, 1, 1)
		b.dev.GroupNorm(dst, b.source(l, v), stats, p)
		return max(b.errorOf(dst, want), b.errorOf(stats, wantStats))
	})
	s.derivatives(inQuick, "groupnorm", name, bound, l, d, heavy, func(b *bench) primitive {
		v := draw(b)
		p, ref := c.on(b, l, v)
		x, dst, stats := b.source(l, v), b.poisoned(l, v.N, v.C, v.H, v.W), b.poisoned(l, v.N, 2*c.groups, 1, 1)
		b.dev.GroupNorm(dst, x, stats, p)
		var jet func(dst, second, a, ab compute.Tensor)
		if j, ok := b.dev.(compute.Jetter); ok {
			jet = func(dst, second, a, ab compute.Tensor) { j.GroupNormJet(dst, second, x, stats, a, ab, p) }
		}
		return primitive{
			jet: jet,
			x:   v, out: v.C,
			ref: func(x Array) Array {
				y, _ := RefGroupNorm(x, ref)
				return y
			},
			adjoint: func(dx, dy compute.Tensor, accumulate bool) {
				b.dev.GroupNormAdjoint(dx, x, stats, dy, p, accumulate)
			},
			tangent: func(dst, a compute.Tensor) { b.dev.GroupNormTangent(dst, x, stats, a, p) },
			second:  func(dst, a, q, aq compute.Tensor) { b.dev.GroupNormSecond(dst, x, stats, a, q, aq, p) },
		}
	})
}

func (s *suite) groupNorm() {
	for i, r := range []struct{ per, n, c, groups, h, w int }{
		{2, 2, 6, 2, 5, 7}, {1, 1, 32, 32, 6, 6}, {3, 2, 32, 8, 12, 12}, {2, 1, 96, 8, 1, 1}, {1, 3, 64, 32, 8, 8},
		{1, 1, 3, 1, 24, 24}, {2, 3, 6, 3, 6, 6}, {1, 1, 96, 32, 5, 7},
	} {
		for j, kind := range []normCase{{silu: true}, {silu: true, scale: true}, {}, {scale: true}} {
			l := layouts[(i+j)%len(layouts)]
			kind.groups = r.groups
			s.group(i == 0 && j < 2, fmt.Sprintf("%d×%d×%d×%d", r.n, r.c, r.h, r.w), Ordinary, l, usual(r.per), false, kind,
				func(b *bench) Array { return normal(b.rng, 1.5, 0.5, r.n, r.c, r.h, r.w) })
		}
	}
	s.group(false, "1×32×64×64", Ordinary, dense, usual(1), true, normCase{8, true, true},
		func(b *bench) Array { return normal(b.rng, 1.5, 0.5, 1, 32, 64, 64) })
	// A float32 mean of 1e3 is off by up to 3e-5 standard deviations. Plain float32
	// sums are off by more: sum x less a first guess of the mean.
	s.group(true, "mean 1e3, 2×6×6×6", 1e-4, channels, usual(1), false, normCase{groups: 2},
		func(b *bench) Array { return normal(b.rng, 1, 1e3, 2, 6, 6, 6) })
	// 1/√eps is 316, which is how much rounding of a mean of 0.5 grows; directions
	// have the size of √eps, the only scale of the function there.
	root := math.Sqrt(1e-5)
	s.group(true, "constant, 2×6×5×7", 1e-4, padded, direction{1, root, 0.1}, false, normCase{groups: 2, silu: true},
		func(b *bench) Array {
			return NewArray(2, 6, 5, 7).Map(func(float64) float64 { return 0.5 })
		})
}

func (s *suite) attention() {
	for i, r := range []struct {
		per, n, c, heads, h, w int
		heavy                  bool
	}{
		{2, 2, 6, 2, 5, 7, false}, {1, 1, 32, 1, 6, 6, false}, {1, 2, 64, 2, 6, 6, false}, {3, 1, 96, 3, 1, 1, false},
		{1, 1, 32, 4, 8, 8, false}, {2, 3, 3, 1, 5, 7, false}, {1, 1, 32, 2, 12, 12, true}, {1, 1, 64, 1, 8, 8, true}, {1, 1, 32, 1, 24, 24, true},
	} {
		for j, split := range []bool{false, true} {
			h := compute.Heads{Count: r.heads, Split: split}
			s.heads(i == 0, fmt.Sprintf("%d×%d×%d×%d", r.n, r.c, r.h, r.w), Products, layouts[(i+2*j)%len(layouts)], steep(r.per), r.heavy, h,
				func(b *bench) Array { return b.normal(r.n, 3*r.c, r.h, r.w) })
		}
	}
	// A score is rounded to 2⁻²⁴ of itself, and its weight by as much as the score
	// is: with scores around ±100 that is some 1e-5.
	s.heads(true, "scores ±100, 1×32×5×7", 5e-5, channels, direction{1, 1, 0.02}, false, compute.Heads{Count: 2},
		func(b *bench) Array { return normal(b.rng, 5.5, 0, 1, 96, 5, 7) })
	s.heads(true, "scores around −140, 1×32×5×7", 1e-4, dense, direction{1, 1, 0.01}, false, compute.Heads{Count: 1, Split: true},
		func(b *bench) Array {
			x := b.normal(1, 96, 5, 7)
			for i := range x.Plane(0, 0) {
				x.Plane(0, 0)[i], x.Plane(0, 32)[i] = 28, -28
			}
			return x
		})
}

// heads adds the cases of one attention.
func (s *suite) heads(inQuick bool, name string, bound float64, l layout, d direction, heavy bool, h compute.Heads, draw func(*bench) Array) {
	order := "head·qkv·ch"
	if h.Split {
		order = "qkv·head·ch"
	}
	name = fmt.Sprintf("%s, %d heads, %s", name, h.Count, order)
	s.add(inQuick, "attention", fmt.Sprintf("%s, %v", name, l), bound, func(b *bench) float64 {
		v := draw(b)
		return b.compare(l, shape{v.N, v.C / 3, v.H, v.W}, Array{}, v,
			func(dst, src compute.Tensor) { b.dev.Attention(dst, src, h) }, RefAttention(v, h))
	})
	s.derivatives(inQuick, "attention", name, bound, l, d, heavy, func(b *bench) primitive {
		v := draw(b)
		x := b.source(l, v)
		return primitive{
			x: v, out: v.C / 3,
			ref:     func(x Array) Array { return RefAttention(x, h) },
			adjoint: func(dx, dy compute.Tensor, accumulate bool) { b.dev.AttentionAdjoint(dx, x, dy, h, accumulate) },
			tangent: func(dst, a compute.Tensor) { b.dev.AttentionTangent(dst, x, a, h) },
			second:  func(dst, a, q, aq compute.Tensor) { b.dev.AttentionSecond(dst, x, a, q, aq, h) },
		}
	})
}
