package network

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// predicted is ε = X·x_t + Out·F(In·x_t) of a network F that predicts something else. Its
// derivatives are F's, scaled by an image's coefficients.
type predicted struct {
	m     *Model
	coefs []diffusion.Coefficients // of each image
	out   compute.Tensor
}

// predict evaluates the network at In·x_t and returns the noise.
func (m *Model) predict(x compute.Tensor, t []int) (prior.Point, error) {
	p := &predicted{m: m}
	for _, ti := range t {
		p.coefs = append(p.coefs, m.cfg.Predicts(m.alphaBar[ti], ti))
	}
	scaled := m.ws.ScratchLike("input", x)
	p.out = m.ws.ScratchLike("out", x)
	if err := m.ws.Err(); err != nil {
		return nil, err
	}
	m.Device().Combine(scaled, p.times(x, func(c diffusion.Coefficients) float64 { return c.In }))
	f, err := m.net.Value(scaled, m.embed(p.coefs))
	if err != nil {
		return nil, err
	}
	m.Device().Combine(p.out,
		p.times(x, func(c diffusion.Coefficients) float64 { return c.X }),
		p.times(f, func(c diffusion.Coefficients) float64 { return c.Out }))
	return p, nil
}

// times returns the term of x times a coefficient of each image; image n of directions
// belongs to image n modulo the point's.
func (p *predicted) times(x compute.Tensor, of func(diffusion.Coefficients) float64) compute.Term {
	term := compute.Term{X: x, Coef: make([]float64, x.N)}
	for n := range term.Coef {
		term.Coef[n] = of(p.coefs[n%len(p.coefs)])
	}
	return term
}

// first is the derivative X·v + Out·In·d of ε, d that of F.
func (p *predicted) first(name string, v, d compute.Tensor, err error) (compute.Tensor, error) {
	return p.derivative(name, d, err,
		p.times(v, func(c diffusion.Coefficients) float64 { return c.X }),
		p.times(d, func(c diffusion.Coefficients) float64 { return c.Out * c.In }))
}

// second is the derivative Out·In²·d of ε, d that of F.
func (p *predicted) second(d compute.Tensor, err error) (compute.Tensor, error) {
	return p.derivative("second", d, err, p.times(d, func(c diffusion.Coefficients) float64 { return c.Out * c.In * c.In }))
}

func (p *predicted) derivative(name string, like compute.Tensor, err error, terms ...compute.Term) (compute.Tensor, error) {
	if err != nil {
		return like, err
	}
	dst := p.m.ws.ScratchLike(name, like)
	if err := p.m.ws.Err(); err != nil {
		return dst, err
	}
	p.m.Device().Combine(dst, terms...)
	return dst, nil
}

// Out implements [prior.Point].
func (p *predicted) Out() compute.Tensor { return p.out }

// VJP implements [prior.Point].
func (p *predicted) VJP(u compute.Tensor) (compute.Tensor, error) {
	d, err := p.m.net.VJP(u)
	return p.first("vjp", u, d, err)
}

// JVP implements [prior.Point].
func (p *predicted) JVP(v compute.Tensor) (compute.Tensor, error) {
	d, err := p.m.net.JVP(v)
	return p.first("jvp", v, d, err)
}

// JVPCached implements [prior.TangentCache].
func (p *predicted) JVPCached(k int, v compute.Tensor) (compute.Tensor, error) {
	d, err := p.m.net.JVPCached(k, v)
	return p.first("jvp", v, d, err)
}

// Second implements [prior.Point].
func (p *predicted) Second(v, w compute.Tensor) (compute.Tensor, error) {
	d, err := p.m.net.Second(v, w)
	return p.second(d, err)
}

// SecondCached implements [prior.TangentCache].
func (p *predicted) SecondCached(coef [][]float64) (compute.Tensor, error) {
	d, err := p.m.net.SecondCached(coef)
	return p.second(d, err)
}
