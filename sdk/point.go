package sdk

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// counted is the prior at x_t seen as the Tweedie mean, counting
// passes.
type counted struct {
	prior.Point
	solver    *Solver
	cxt, ceps float64 // x̂0 = cxt·x_t + ceps·ε
}

// pullBack is Jᵀu, J = ∂x̂0/∂x_t = (I − σ_t ∂ε/∂x_t)/√ᾱ_t.
func (p *counted) pullBack(u compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	full := u
	if out := p.Out(); out.C != u.C { // the variance channels take no part
		var err error
		if full, err = s.result("cotangent", u.N, out); err != nil {
			return full, err
		}
		s.dev.Combine(full.Channels(0, u.C), compute.Times(1, u))
		s.dev.Combine(full.Channels(u.C, out.C), compute.Times(0, u))
	}
	if err := s.stopped(); err != nil {
		return full, err
	}
	g, err := p.Point.VJP(full)
	if err != nil {
		return g, err
	}
	s.passes++
	dst, err := s.result("VJP", u.N, u)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.cxt, u), compute.Times(p.ceps, g))
	}
	return dst, err
}

// JVP implements [cmi.Denoiser].
func (p *counted) JVP(v compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	if err := s.stopped(); err != nil {
		return v, err
	}
	jv, err := p.Point.JVP(v)
	if err != nil {
		return jv, err
	}
	s.passes += v.N / s.p.N
	return p.tangent(v, jv)
}

// tangent is J v of x̂0 from that of the network.
func (p *counted) tangent(v, jv compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	dst, err := s.result("JVP", v.N, v)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.cxt, v), compute.Times(p.ceps, jv.Channels(0, v.C)))
	}
	return dst, err
}

// Second implements [cmi.Denoiser].
func (p *counted) Second(v, w compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	if err := s.stopped(); err != nil {
		return v, err
	}
	d2, err := p.Point.Second(v, w)
	if err != nil {
		return d2, err
	}
	s.passes += 2 * v.N / s.p.N
	if v != w {
		s.passes += v.N / s.p.N
	}
	return p.second(v, d2)
}

// second is D²x̂0 from that of the network, for directions shaped like v.
func (p *counted) second(v, d2 compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	dst, err := s.result("second", v.N, v)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.ceps, d2.Channels(0, v.C)))
	}
	return dst, err
}

// Keeps implements [cmi.Keeper].
func (p *counted) Keeps() bool {
	_, ok := p.Point.(prior.Keeper)
	return ok
}

// JVPKept implements [cmi.Keeper].
func (p *counted) JVPKept(k int, v compute.Tensor) (compute.Tensor, error) {
	if err := p.solver.stopped(); err != nil {
		return v, err
	}
	jv, err := p.Point.(prior.Keeper).JVPKept(k, v)
	if err != nil {
		return jv, err
	}
	p.solver.passes++
	return p.tangent(v, jv)
}

// SecondOfKept implements [cmi.Keeper].
func (p *counted) SecondOfKept(coef [][]float64) (compute.Tensor, error) {
	if err := p.solver.stopped(); err != nil {
		return p.solver.step.X, err
	}
	d2, err := p.Point.(prior.Keeper).SecondOfKept(coef)
	if err != nil {
		return d2, err
	}
	p.solver.passes++
	return p.second(p.solver.step.X, d2)
}

// direction names the result of a derivative: what it is, and of how many images.
type direction struct {
	of     string
	images int
}

// result is the tensor that holds a derivative of n images shaped like the given one.
func (s *Solver) result(of string, n int, like compute.Tensor) (compute.Tensor, error) {
	key := direction{of, n}
	if t, ok := s.dirs[key]; ok {
		return t, nil
	}
	t, err := compute.New(s.dev, n, like.C, like.H, like.W)
	if err == nil {
		s.dirs[key] = t
	}
	return t, err
}
