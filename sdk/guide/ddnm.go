package guide

import (
	"errors"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// DDNM is DDNM+, the denoising diffusion null-space model for noisy measurements (Wang et
// al. 2023, arXiv 2212.00490, section 3.3): x̂0 gets its measured part from y
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
	d, residual, x0, z := s.Device, s.Tensor("residual", s.Y), s.Tensor("guided x0", s.X), s.Tensor("method's noise", s.X)
	noise, null, seen := s.Tensor("measured noise", s.X), s.Tensor("null space", s.X), s.Tensor("measured part", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	prev := s.Schedule.AlphaBarPrev(s.Index)
	a, sigma, kept := math.Sqrt(prev), math.Sqrt(1-prev), math.Sqrt(1-m.Eta*m.Eta)
	// lift computes dst = V f(s) Vᵀ A⁺ of the residual.
	lift := func(dst compute.Tensor, f func(singular float64) float64) {
		op.Function(residual, residual, func(e float64) float64 {
			if e <= max(m.MinSingular*m.MinSingular, 1e-12) {
				return 0
			}
			return f(math.Sqrt(e)) / e
		})
		op.Adjoint(dst, residual)
	}

	innovation(s, residual)
	lift(x0, func(singular float64) float64 {
		if sigma < a*s.SigmaY/singular {
			return singular * sigma * kept / (a * s.SigmaY)
		}
		return 1
	})
	d.Combine(x0, compute.Times(1, s.X0), compute.Times(1, x0))

	s.normal(z, 0)
	op.Apply(residual, z)
	lift(noise, func(singular float64) float64 {
		if hidden := a * s.SigmaY / singular; sigma >= hidden {
			return math.Sqrt(sigma*sigma-hidden*hidden) - sigma*m.Eta
		}
		return 0
	})

	d.Combine(null, compute.Times(1, s.Epsilon))
	for range 2 { // one projection leaves the rounding of A ε over the smallest singular value
		op.Apply(residual, null)
		lift(seen, func(float64) float64 { return 1 })
		d.Combine(null, compute.Times(1, null), compute.Times(-1, seen))
	}
	d.Combine(s.Next, compute.Times(a, x0), compute.Times(sigma*m.Eta, z), compute.Times(1, noise), compute.Times(sigma*kept, null))
	return s.report()
}
