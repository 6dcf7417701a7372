package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// DiffPIR alternates the denoiser with the proximal step of the data term (Zhu et al.
// 2023, arXiv 2305.08995, algorithm 1): with σ̄² = (1−ᾱ_t)/ᾱ_t
//
//	x0 = argmin ‖y − A x‖²/σ_y² + (λ/σ̄²)‖x − x̂0‖²
//	ε̂ = (x_t − √ᾱ_t x0)/√(1−ᾱ_t)
//	x_{t−1} = √ᾱ_s x0 + √(1−ᾱ_s)(√(1−ζ) ε̂ + √ζ z)
//
// It takes no derivative of the network: one pass a step.
type DiffPIR struct {
	Lambda float64 // λ > 0: a larger one trusts the denoiser more
	Zeta   float64 // ζ in [0, 1]: the share of fresh noise
	// Learned is the noise level σ̄ below which the variance of each pixel that the network has
	// learned stands for σ̄² (Peng et al. 2024, arXiv 2402.02149, with 0.2); 0 is without.
	Learned float64
}

// Name implements [Method].
func (DiffPIR) Name() string { return "diffpir" }

// Cost implements [Method].
func (m DiffPIR) Cost(s *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Linear: true, Variance: learned(m.Learned, s, index)}
}

// Validate implements [Validator].
func (m DiffPIR) Validate(ddim *float64) error { return ownStep(m, ddim) }

// Step implements [Method].
func (m DiffPIR) Step(s *Step) error {
	x0, z := s.Tensor("guided x0", s.X), s.Tensor("method's noise", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.Device.Combine(x0, compute.Times(1, s.Clipped))
	if learned(m.Learned, s.Schedule, s.Index) {
		d, gain, residual := s.Tensor("posterior variance", s.X), s.Tensor("gain", s.X), s.Tensor("residual", s.Y)
		if err := s.Work.Err(); err != nil {
			return err
		}
		s.A.Apply(residual, x0)
		s.Device.Combine(residual, compute.Times(1, s.Y), compute.Times(-1, residual))
		if err := s.weighted(d, gain, residual, m.Lambda, s.SigmaY); err != nil {
			return err
		}
		s.Device.Mul(gain, gain, d)
		s.Device.Combine(x0, compute.Times(1, x0), compute.Times(1, gain))
	} else if err := s.conditionalMean(x0, s.relativeNoise()/math.Sqrt(m.Lambda)); err != nil {
		return err
	}
	s.normal(z, 0)
	cxt, cx0 := s.Schedule.Epsilon(s.Index)
	prev := s.Schedule.AlphaBarPrev(s.Index)
	kept, fresh := math.Sqrt((1-prev)*(1-m.Zeta)), math.Sqrt((1-prev)*m.Zeta)
	s.Device.Combine(s.Next, compute.Times(math.Sqrt(prev)+kept*cx0, x0), compute.Times(kept*cxt, s.X), compute.Times(fresh, z))
	return s.report()
}
