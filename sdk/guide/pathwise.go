package guide

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
)

// Pathwise takes each reverse step through a draw of the Gaussian N(x̂0, Σ) given y, with
// the network's own covariance Σ = c ∂x̂0/∂x_t, c = σ_t²/√ᾱ_t (Tweedie's formula of second
// order), by Matheron's rule (Wilson et al. 2021, arXiv 2011.04026):
//
//	x′ = x̂0 + Σ^½ ξ,  x0 = x′ + Σ Aᵀ(A Σ Aᵀ + σ_y² I)⁻¹(y + σ_y ζ − A x′)
//
// and then the base sampler's step from x0. On DDIM with η = 1, or DDPM with its small
// variance, that is exact for a Gaussian prior at any number of steps.
//
// Where ᾱ_t < MinAlphaBar a learned Σ is not to be trusted, and the step goes through ΠGDM's
// mean instead, x0 = x̂0 + c Jᵀ Aᵀ((1−ᾱ_t) A Aᵀ + σ_y² I)⁻¹(y − A x̂0).
type Pathwise struct {
	// Root is the number K of Lanczos steps for Σ^½ ξ, a JVP each. 0 leaves ξ and ζ out: x0
	// is the mean of the Gaussian given y, as in MMPS (Rozet et al. 2024, arXiv 2405.13712).
	Root        int
	Solve       int     // conjugate-gradient steps K′ ≥ 1 of the inverse, a JVP each
	MinAlphaBar float64 // 0.03 for learned priors, 0 for exact ones
}

// Name implements [Method].
func (m Pathwise) Name() string {
	if m.Root == 0 {
		return "pathwise-mean"
	}
	return "pathwise"
}

func (m Pathwise) isotropic(s *diffusion.Schedule, index int) bool {
	return s.AlphaBar(index) < m.MinAlphaBar
}

// Cost implements [Method].
func (m Pathwise) Cost(s *diffusion.Schedule, index int) Cost {
	if m.isotropic(s, index) {
		return Cost{Guides: true, Linear: true, Adjoint: true, Shifts: m.Root == 0}
	}
	return Cost{Guides: true, Linear: true, Directions: m.Root + m.Solve, Shifts: m.Root == 0}
}

// Validate implements [Validator].
func (m Pathwise) Validate(*float64) error {
	if m.Root != 0 {
		if err := lanczosSteps(m, m.Root); err != nil {
			return err
		}
	}
	return lanczosSteps(m, m.Solve)
}

// Step implements [Method].
func (m Pathwise) Step(s *Step) error {
	if m.isotropic(s.Schedule, s.Index) {
		residual, w := s.Tensor("residual", s.Y), s.Tensor("innovation", s.X)
		if err := s.Work.Err(); err != nil {
			return err
		}
		innovation(s, residual)
		if err := s.solve(w, residual, 1-s.Schedule.AlphaBar(s.Index), s.SigmaY*s.SigmaY, 1e-4); err != nil {
			return err
		}
		return drift(s, w, 1, true)
	}
	if s.images == nil {
		s.images = krylov.NewImages(s.Device, s.Work, s.A, s.X.N, m.Root)
	}
	d, x0, residual := s.Device, s.Tensor("guided x0", s.X), s.Tensor("residual", s.Y)
	xi, zeta := s.Tensor("image noise", s.X), s.Tensor("measurement noise", s.Y)
	if err := s.Work.Err(); err != nil {
		return err
	}
	level := krylov.Level{AlphaBar: s.Schedule.AlphaBar(s.Index), SigmaY: s.SigmaY}
	d.Combine(x0, compute.Times(1, s.X0))
	y := []compute.Term{compute.Times(1, s.Y)}
	if m.Root > 0 {
		s.normal(xi, imageNoise)
		root, err := s.images.Root(s.Denoiser, level, xi)
		if err != nil {
			return err
		}
		d.Combine(x0, compute.Times(1, x0), compute.Times(1, root))
		s.normal(zeta, measurementNoise)
		y = append(y, compute.Times(s.SigmaY, zeta))
	}
	s.A.Apply(residual, x0)
	d.Combine(residual, append(y, compute.Times(-1, residual))...)
	gain, err := s.images.Gain(s.Denoiser, level, residual, m.Solve)
	if err != nil {
		return err
	}
	d.Combine(x0, compute.Times(1, x0), compute.Times(1, gain))
	return s.through(x0)
}
