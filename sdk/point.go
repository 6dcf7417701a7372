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
	jv, err := p.Point.JVP(v)
	if err != nil {
		return jv, err
	}
	s.passes += v.N / s.p.N
	dst, err := s.result("JVP", v.N, v)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.cxt, v), compute.Times(p.ceps, jv.Channels(0, v.C)))
	}
	return dst, err
}

// Second implements [cmi.Denoiser].
func (p *counted) Second(v, w compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	d2, err := p.Point.Second(v, w)
	if err != nil {
		return d2, err
	}
	s.passes += 2 * v.N / s.p.N
	if v != w {
		s.passes += v.N / s.p.N
	}
	dst, err := s.result("second", v.N, v)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.ceps, d2.Channels(0, v.C)))
	}
	return dst, err
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
