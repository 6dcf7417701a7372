package guide

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// CADPS is covariance-aware DPS (Hamidi & Yang 2024, arXiv 2412.20045) as its published program has it
// (github.com/Shayanmohajer/AAAI-2025-Covariance-Aware-Diffusion-Models-): [DPS] whose gradient is multiplied, value by value, by what a
// finite difference over a step's time says of the score's derivative,
//
//	x_{t−1} = x′ − ζ (1 + ε(x_t, t) − ε(x_t, s)) ∇_{x_t} ‖y − A x̂0(x_t)‖₂
//
// s the next step's time, and in the last step ε(x_t, s) = 0. The paper derives the covariance of x0 given x_t,
// (σ_t²/ᾱ_t)(I + σ_t² ∇² log p), takes its diagonal by finite differences and solves with A Σ Aᵀ + σ_y² I; no program of that is
// known. [TMPD] has a diagonal of that kind from one JVP.
type CADPS struct {
	Scale float64 // ζ
	Limit float64 // of ζ, as [DPS].Limit; 0 is the published method
}

// Name implements [Method].
func (CADPS) Name() string { return "cadps" }

// Cost implements [Method].
func (CADPS) Cost(_ *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Adjoint: true, Values: min(index, 1)}
}

// Step implements [Method]: one adjoint pass and, but for the last step, one more evaluation.
func (m CADPS) Step(s *Step) error {
	gradient, norm, residual, err := averagedGradient(s, 0)
	if err != nil {
		return err
	}
	d, factor, later := s.Device, s.Tensor("factor", s.X), s.Tensor("later x0", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	d.Combine(factor, compute.Times(1, s.Epsilon))
	if s.Index > 0 {
		epsilon, err := s.Evaluate(later, s.X, s.Index-1)
		if err != nil {
			return err
		}
		d.Combine(factor, compute.Times(1, factor), compute.Times(-1, epsilon))
	}
	d.Mul(factor, factor, gradient)
	minus := make([]float64, len(norm))
	for i, n := range norm {
		minus[i] = -limited(m.Scale, m.Limit, residual[i], n)
	}
	d.Combine(s.Next, compute.Times(1, s.Proposal), compute.Term{X: gradient, Coef: minus}, compute.Term{X: factor, Coef: minus})
	return s.report()
}
