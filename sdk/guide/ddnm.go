package guide

import (
	"errors"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// DDNM is DDNM+, the denoising diffusion null-space model for noisy measurements (Wang et
// al. 2023, arXiv 2212.00490, section 3.3 and appendix I): x̂0 gets its measured part from y
// as far as the noise of the next level σ = √(1−ᾱ_s) hides σ_y, for each singular value s_k
// of A = U S Vᵀ. With a = √ᾱ_s:
//
//	x0 = x̂0 − V λ Vᵀ A⁺(A x̂0 − y)
//	x_{t−1} = a x0 + V d₁ Vᵀ z + V d₂ Vᵀ ε
//
//	s_k = 0             d₁ = σ η, d₂ = σ √(1−η²)
//	s_k < a σ_y/σ       d₁ = σ η, d₂ = 0, λ = s_k σ √(1−η²)/(a σ_y)
//	else                d₁ = √(σ² − a² σ_y²/s_k²), d₂ = 0, λ = 1
//
// It takes no derivative of the network, and x̂0 as it is, not clipped. The operator's
// singular values must be known: [measure.Exact].
type DDNM struct {
	Eta float64 // η in [0, 1]: 0.85 as published
	// MinSingular: singular values that are not above it count as zero, 0.03 in the published
	// program's blur. 0 takes all that float32 can use.
	MinSingular float64
}

// Name implements [Method].
func (DDNM) Name() string { return "ddnm" }

// Cost implements [Method].
func (DDNM) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Linear: true, Spectral: true}
}

// Validate implements [Validator].
func (m DDNM) Validate(ddim *float64) error { return ownStep(m, ddim) }

// Step implements [Method].
func (m DDNM) Step(s *Step) error {
	if !measure.Exact(s.A) {
		return errors.New("ddnm needs an operator with known singular values")
	}
	op := s.A.(measure.Spectral)
	d, residual, x0 := s.Device, s.Tensor("residual", s.Y), s.Tensor("guided x0", s.X)
	z, epsilon := s.Tensor("method's noise", s.X), s.Tensor("old noise", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	prev := s.Schedule.AlphaBarPrev(s.Index)
	a, sigma, kept := math.Sqrt(prev), math.Sqrt(1-prev), math.Sqrt(1-m.Eta*m.Eta)
	// of returns a function of the eigenvalues s_k² from its values where s_k counts as zero,
	// where σ_y hides the noise of the next level, and elsewhere.
	of := func(zero float64, hidden, seen func(singular float64) float64) func(float64) float64 {
		return func(e float64) float64 {
			switch singular := math.Sqrt(e); {
			case e <= max(m.MinSingular*m.MinSingular, 1e-12):
				return zero
			case sigma*singular < a*s.SigmaY:
				return hidden(singular)
			default:
				return seen(singular)
			}
		}
	}
	constant := func(v float64) func(float64) float64 { return func(float64) float64 { return v } }

	innovation(s, residual)
	op.Function(residual, residual, of(0, // λ/s²: V λ Vᵀ A⁺ = Aᵀ U λ/s² Uᵀ
		func(singular float64) float64 { return sigma * kept / (a * s.SigmaY * singular) },
		func(singular float64) float64 { return 1 / (singular * singular) }))
	op.Adjoint(x0, residual)
	d.Combine(x0, compute.Times(1, s.X0), compute.Times(1, x0))

	s.normal(z, 0)
	if err := measure.ImageFunction(s.Work, op, z, z, of(sigma*m.Eta, constant(sigma*m.Eta), func(singular float64) float64 { // d₁
		return math.Sqrt(max(sigma*sigma-math.Pow(a*s.SigmaY/singular, 2), 0))
	})); err != nil {
		return err
	}
	if err := measure.ImageFunction(s.Work, op, epsilon, s.Epsilon, of(sigma*kept, constant(0), constant(0))); err != nil { // d₂
		return err
	}
	d.Combine(s.Next, compute.Times(a, x0), compute.Times(1, z), compute.Times(1, epsilon))
	return s.report()
}
