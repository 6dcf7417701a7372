package computetest

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// primitive is a nonlinear kernel at a point that is on the device already.
type primitive struct {
	x       Array
	out     int // channels of the value
	ref     func(x Array) Array
	adjoint func(dx, dy compute.Tensor, accumulate bool)
	tangent func(dst, a compute.Tensor)
	second  func(dst, a, b, ab compute.Tensor)
	jet     func(dst, second, a, ab compute.Tensor) // tangent and second with b = a at once; nil where the device has none
}

// direction says how a primitive's derivatives are probed.
type direction struct {
	per  int     // directions for each primal image
	size float64 // standard deviation of the directions' values
	step float64 // of the oracle's differences, in units of the direction
}

// derivatives adds the cases of a nonlinear kernel's adjoint, tangent and second
// coefficient. heavy leaves out those whose reference takes long.
func (s *suite) derivatives(inQuick bool, op, name string, bound float64, l layout, d direction, heavy bool, prepare func(*bench) primitive) {
	name = fmt.Sprintf("%s, %d directions each, %v", name, d.per, l)
	draw := func(b *bench, p primitive) Array {
		return normal(b.rng, d.size, 0, d.per*p.x.N, p.x.C, p.x.H, p.x.W)
	}
	output := func(b *bench, p primitive) compute.Tensor {
		return b.poisoned(l, d.per*p.x.N, p.out, p.x.H, p.x.W)
	}
	s.add(inQuick, op+"-tangent", name, bound, func(b *bench) float64 {
		p := prepare(b)
		a := draw(b, p)
		dst := output(b, p)
		p.tangent(dst, b.source(l, a))
		return b.errorOf(dst, b.certain(RefTangent(p.ref, p.x, a, d.step)))
	})
	s.add(inQuick, op+"-identity", name, bound, func(b *bench) float64 {
		p := prepare(b)
		u := b.normal(d.per*p.x.N, p.out, p.x.H, p.x.W)
		return b.identity(l, u, draw(b, p), p.tangent, func(dx, dy compute.Tensor) { p.adjoint(dx, dy, false) })
	})
	if heavy {
		return
	}
	s.add(inQuick, op+"-second", name, bound, func(b *bench) float64 {
		p := prepare(b)
		x, y, xy := draw(b, p), draw(b, p), draw(b, p)
		dst := output(b, p)
		p.second(dst, b.source(l, x), b.source(l, y), b.source(l, xy))
		return b.errorOf(dst, b.certain(RefSecond(p.ref, p.x, x, y, xy, d.step)))
	})
	s.add(inQuick, op+"-second", name+", a = b", bound, func(b *bench) float64 {
		p := prepare(b)
		x, xx := draw(b, p), draw(b, p)
		dst, tx := output(b, p), b.source(l, x)
		p.second(dst, tx, tx, b.source(l, xx))
		return b.errorOf(dst, b.certain(RefSecond(p.ref, p.x, x, x, xx, d.step)))
	})
	s.add(inQuick, op+"-second", name+", a = b, with the tangent", bound, func(b *bench) float64 {
		p := prepare(b)
		if p.jet == nil {
			return 0
		}
		x, xx := b.source(l, draw(b, p)), b.source(l, draw(b, p))
		first, second, alone := output(b, p), output(b, p), output(b, p)
		p.jet(first, second, x, xx)
		p.tangent(alone, x)
		e := b.errorOf(first, b.read(alone))
		p.second(alone, x, x, xx)
		return max(e, b.errorOf(second, b.read(alone)))
	})
	s.add(inQuick, op+"-adjoint", name, bound, func(b *bench) float64 {
		p := prepare(b)
		dy := b.normal(d.per*p.x.N, p.out, p.x.H, p.x.W)
		dx := b.poisoned(l, dy.N, p.x.C, p.x.H, p.x.W)
		p.adjoint(dx, b.source(l, dy), false)
		return b.adjointError(p, d, b.read(dx), dy)
	})
	s.add(inQuick, op+"-adjoint", name+", accumulate", bound, func(b *bench) float64 {
		p := prepare(b)
		dy := b.normal(d.per*p.x.N, p.out, p.x.H, p.x.W)
		old := draw(b, p)
		dx := b.target(l, old)
		p.adjoint(dx, b.source(l, dy), true)
		return b.adjointError(p, d, b.read(dx).plus(-1, old), dy)
	})
}

// adjointError estimates the relative error of dx = Jᵀdy without knowing Jᵀ. For
// directions v of independent normal values, E[⟨dx − Jᵀdy, v⟩²] = ‖dx − Jᵀdy‖²,
// and ⟨Jᵀdy, v⟩ = ⟨dy, Jv⟩ with the oracle's Jv.
func (b *bench) adjointError(p primitive, d direction, dx, dy Array) float64 {
	const probes = 4
	var wrong float64
	for range probes {
		v := normal(b.rng, d.size, 0, dx.N, dx.C, dx.H, dx.W)
		jv := b.certain(RefTangent(p.ref, p.x, v, d.step))
		want := RefDot(dy, jv)
		for n, got := range RefDot(dx, v) {
			e := (got - want[n]) / d.size
			wrong += e * e / probes
		}
	}
	var norm float64
	for _, v := range dx.V {
		norm += v * v
	}
	if norm == 0 {
		norm = 1
	}
	return finite(math.Sqrt(wrong / norm))
}
