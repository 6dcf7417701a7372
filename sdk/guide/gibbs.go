package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// Gibbs is split Gibbs sampling with a diffusion prior, PnP-DM (Wu et al. 2024, arXiv
// 2405.18782, algorithm 1): at each noise level ρ = σ_t/√ᾱ_t of the schedule, from the
// highest to the lowest, a draw
//
//	z ~ p(z | x, y) ∝ N(y; A z, σ_y² I) N(z; x, ρ² I)
//
// in closed form, and then x ~ p(x | z), by the reverse process from √ᾱ_t z in up to three
// evaluations of the network, DDIM with η = 1. The state of the run is the image x, first the
// clipped x̂0 of x_T, so that the information term, which moves x_t, has no place in it.
type Gibbs struct{}

// Name implements [Method].
func (Gibbs) Name() string { return "gibbs" }

// Cost implements [Method].
func (Gibbs) Cost(s *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Linear: true, Image: index < s.Len()-1, Values: len(descent(index))}
}

// Validate implements [Validator].
func (m Gibbs) Validate(ddim *float64) error { return ownStep(m, ddim) }

// Step implements [Method].
func (m Gibbs) Step(s *Step) error {
	x, from := s.Tensor("guided x0", s.X), s.X0
	if err := s.Work.Err(); err != nil {
		return err
	}
	if !m.Cost(s.Schedule, s.Index).Image {
		from = s.Clipped
	}
	s.Device.Combine(x, compute.Times(1, from))
	if err := s.conditionalDraw(x, s.relativeNoise()); err != nil {
		return err
	}
	s.Device.Combine(x, compute.Times(math.Sqrt(s.Schedule.AlphaBar(s.Index)), x))
	if err := s.descend(s.Next, x, 1, false); err != nil {
		return err
	}
	return s.report()
}
