package guide

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
)

// Curvature is the innovation curvature: under p(x0|x_t) ≈ N(x̂0, Σ(x_t)) the
// evidence N(y; A x̂0, S), S = A Σ Aᵀ + σ_y² I, has the gradient
//
//	∇ log N = Jᵀ w + ½ c D²x̂0[w, w] − ∇I,  w = AᵀS⁻¹(y − A x̂0),  c = σ_t²/√ᾱ_t
//
// whose first term is the drift of ΠGDM, TMPD (Boys et al. 2023) and MMPS (Rozet et
// al. 2024) and whose second they neglect: one second-order jet along one known
// direction. The third is the information term of package cmi, which goes the other
// way there; the two weights are separate.
type Curvature struct {
	Weight        float64 // 0 is without; 1 is the gradient; the step adds Weight·β_t times it
	MinAlphaBar   float64 // acts where ᾱ_t is at least this; learned priors need about 0.03
	TrustGuidance float64 // limits its norm to this multiple of the drift's; 0 is no limit
}

// acts says whether it does in a step.
func (k Curvature) acts(s *diffusion.Schedule, index int) bool {
	return k.Weight != 0 && s.AlphaBar(index) >= k.MinAlphaBar
}

// add moves s.Next along the curvature, jet being D²x̂0[w, w].
func (k Curvature) add(s *Step, jet func() (compute.Tensor, error)) error {
	if !k.acts(s.Schedule, s.Index) {
		return nil
	}
	second, err := jet()
	if err != nil {
		return err
	}
	norm, err := compute.Norms(s.Device, second)
	if err != nil {
		return err
	}
	ab := s.Schedule.AlphaBar(s.Index)
	scale := k.Weight * s.Schedule.Beta(s.Index) * 0.5 * (1 - ab) / math.Sqrt(ab)
	coef := make([]float64, len(norm))
	for n, v := range norm {
		coef[n] = scale
		length := math.Abs(scale) * v
		if math.IsNaN(length) || math.IsInf(length, 0) {
			return fmt.Errorf("the innovation curvature is not finite at image %d: raise its window's alpha-bar", n)
		}
		if radius := k.TrustGuidance * s.Guidance[n]; k.TrustGuidance > 0 && length > radius {
			coef[n] *= radius / length
		}
	}
	s.Device.Combine(s.Next, compute.Times(1, s.Next), compute.Term{X: second, Coef: coef})
	return nil
}

// Evidence guides by the whole Gaussian evidence log N(y; A x̂0, S(x_t)): the drift
// with the model's own posterior covariance, S⁻¹ by K Krylov steps, and the
// innovation curvature. Add the information term for the third part.
type Evidence struct {
	Scale     float64 // of the drift: 1
	Lanczos   int     // K ≥ 1 Krylov steps, each a JVP; the rank is exact
	Curvature Curvature
}

// Name implements [Method].
func (Evidence) Name() string { return "evidence" }

// Cost implements [Method].
func (m Evidence) Cost(s *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Linear: true, Adjoint: true, Directions: m.Lanczos, Jet: m.Curvature.acts(s, index), Shifts: true}
}

// Validate implements [Validator].
func (m Evidence) Validate(*float64) error {
	return lanczosSteps(m, m.Lanczos)
}

// lanczosSteps says what is wrong with the number of a method's Krylov steps.
func lanczosSteps(m Method, k int) error {
	if k < 1 || k > 1000 {
		return fmt.Errorf("%s solves with the model's covariance by %d Lanczos steps, 1 to 1000 are wanted: pigdm is the method for the isotropic one", m.Name(), k)
	}
	return nil
}

// Step implements [Method]: K JVPs, one adjoint pass, and a jet with Curvature.
func (m Evidence) Step(s *Step) error {
	if s.space == nil {
		s.space = krylov.New(s.Device, s.Work, s.A, s.X.N, m.Lanczos)
	}
	residual := s.Tensor("residual", s.Y)
	if err := s.Work.Err(); err != nil {
		return err
	}
	innovation(s, residual)
	level := krylov.Level{AlphaBar: s.Schedule.AlphaBar(s.Index), SigmaY: s.SigmaY}
	w, err := s.space.Solve(s.Denoiser, level, residual, m.Curvature.acts(s.Schedule, s.Index))
	if err != nil {
		return err
	}
	if err := drift(s, w, m.Scale, true); err != nil {
		return err
	}
	return m.Curvature.add(s, func() (compute.Tensor, error) { return s.space.Second(s.Denoiser) })
}
