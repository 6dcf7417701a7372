package guide

import "github.com/cmi-diffusion/cmi/sdk/diffusion"

// MMPS is moment matching posterior sampling (Rozet et al. 2024, arXiv 2405.13712): the drift
// of [Evidence] alone,
//
//	x̂0′ = x̂0 + c Jᵀ Aᵀ(A Σ Aᵀ + σ_y² I)⁻¹(y − A x̂0),  Σ = c J,  c = σ_t²/√ᾱ_t
//
// and the base sampler's step from x̂0′.
type MMPS struct {
	Lanczos int // K ≥ 1 Krylov steps of the inverse, each a JVP; 1 to 5 in the paper
}

func (m MMPS) evidence() Evidence { return Evidence{Scale: 1, Lanczos: m.Lanczos} }

// Name implements [Method].
func (MMPS) Name() string { return "mmps" }

// Cost implements [Method].
func (m MMPS) Cost(s *diffusion.Schedule, index int) Cost { return m.evidence().Cost(s, index) }

// Validate implements [Validator].
func (m MMPS) Validate(*float64) error { return lanczosSteps(m, m.Lanczos) }

// Step implements [Method]: K JVPs and one adjoint pass.
func (m MMPS) Step(s *Step) error { return m.evidence().Step(s) }
