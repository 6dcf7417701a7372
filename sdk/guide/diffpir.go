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
}

// Name implements [Method].
func (DiffPIR) Name() string { return "diffpir" }

// Cost implements [Method].
func (DiffPIR) Cost(*diffusion.Schedule, int) Cost { return Cost{Guides: true, Linear: true} }

// Validate implements [Validator].
func (m DiffPIR) Validate(ddim *float64) error { return ownStep(m, ddim) }

// Step implements [Method].
func (m DiffPIR) Step(s *Step) error {
	x0, z := s.Tensor("guided x0", s.X), s.Tensor("method's noise", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.Device.Combine(x0, compute.Times(1, s.Clipped))
	if err := s.conditionalMean(x0, s.relativeNoise()/math.Sqrt(m.Lambda)); err != nil {
		return err
	}
	s.normal(z, 0)
	cxt, cx0 := s.Schedule.Epsilon(s.Index)
	prev := s.Schedule.AlphaBarPrev(s.Index)
	kept, fresh := math.Sqrt((1-prev)*(1-m.Zeta)), math.Sqrt((1-prev)*m.Zeta)
	s.Device.Combine(s.Next, compute.Times(math.Sqrt(prev)+kept*cx0, x0), compute.Times(kept*cxt, s.X), compute.Times(fresh, z))
	return s.report()
}
