package sdk

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
)

// NetworkNoise draws the noise of the reverse step with the network's own covariance Σ = c ∂x̂0/∂x_t,
// c = σ_t²/√ᾱ_t, of x0 given x_t (arXiv 2605.22723): where the step's mean is a x̂0 + b x_t,
//
//	x_s = a x̂0 + b x_t + a Σ^½ ξ + σ z
//
// with the small variance σ² = β̃ of DDPM, or that of DDIM. On a Gaussian prior that is exactly p(x_s | x_t) at any
// number of steps; without it, or with a learned variance of each pixel, the step's noise has no correlations. A method
// adds its guidance to it. It is for methods that move the base sampler's step, as for particles; the
// others draw their states by themselves.
type NetworkNoise struct {
	Lanczos     int     // steps for Σ^½ ξ, a JVP each: 1 to 1000
	MinAlphaBar float64 // from where on it acts: 0.03 for learned priors, whose Σ says nothing below, 0 for exact ones
}

// networkNoiseDraw is the method's draw of ξ: no method draws so many.
const networkNoiseDraw = 60000

// networkNoiseActs says whether the noise of the step of index i is the network's. The last step has none.
func (o Options) networkNoiseActs(i int) bool {
	return o.NetworkNoise != nil && i > 0 && o.Schedule.AlphaBar(i) >= o.NetworkNoise.MinAlphaBar
}

// Validate says what is wrong with the network's noise, nil for none, among a run's options.
func (n *NetworkNoise) Validate(o Options) error {
	if n == nil {
		return nil
	}
	if k := n.Lanczos; k < 1 || k > 1000 {
		return fmt.Errorf("the network's noise takes %d Lanczos steps, 1 to 1000 are wanted", k)
	}
	if o.Particles > 0 {
		return fmt.Errorf("particles are weighed by steps with noise that has no correlations: leave them out, or the network's noise")
	}
	if o.DDIM != nil && *o.DDIM == 0 {
		return fmt.Errorf("DDIM with eta 0 has no noise that could be the network's: take an eta above 0")
	}
	for i := range o.Schedule.Len() {
		if !o.Method.Cost(o.Schedule, i).Shifts {
			return fmt.Errorf("the method %s draws its states by itself, so that their noise can't be the network's: leave it out, or take dps, pigdm, mmps or pathwise-mean", o.Method.Name())
		}
	}
	return nil
}

// addNetworkNoise adds a Σ^½ ξ to the noise z of the step of index i, a the factor of x̂0 in the step's mean.
func (s *Solver) addNetworkNoise(i int) error {
	x := s.step.X
	if s.roots == nil {
		s.roots = krylov.NewRoots(s.dev, s.ws, x.N, x.C, x.H, x.W, s.o.NetworkNoise.Lanczos)
	}
	xi := s.ws.ScratchLike("network's noise", x)
	if err := s.ws.Err(); err != nil {
		return err
	}
	s.o.Noise.Method(s.host, i, networkNoiseDraw)
	s.dev.Write(xi, s.host)
	root, err := s.roots.Root(s.x0, krylov.Level{AlphaBar: s.o.Schedule.AlphaBar(i), SigmaY: s.p.SigmaY}, xi)
	if err != nil {
		return err
	}
	a, _ := s.stepFactors(i)
	s.dev.Combine(s.z, compute.Times(1, s.z), compute.Times(a, root))
	return nil
}

// variance returns DDPM's variance of the step of index i: a learned one has that of x̂0 in it, which the network's noise adds.
func (s *Solver) variance(i int) diffusion.Variance {
	if s.o.networkNoiseActs(i) {
		return diffusion.FixedSmall
	}
	return s.o.Variance
}
