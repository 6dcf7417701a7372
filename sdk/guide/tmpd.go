package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// TMPD is Tweedie moment projected diffusion (Boys et al. 2024, arXiv 2310.06721), with the
// covariance of A x0 given x_t, A Σ Aᵀ, Σ = c J, c = σ_t²/√ᾱ_t, replaced by the diagonal matrix of its
// row sums:
//
//	P = diag(A Σ Aᵀ 1) + σ_y² I
//	x̂0′ = x̂0 + c Jᵀ Aᵀ P⁻¹ (y − A x̂0)
//
// and the base sampler's step from x̂0′. A learned J has row sums below 0: they count as 0.
type TMPD struct{}

// Name implements [Method].
func (TMPD) Name() string { return "tmpd" }

// Cost implements [Method].
func (TMPD) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Linear: true, Adjoint: true, Directions: 1, Shifts: true}
}

// Step implements [Method]: one JVP and one adjoint pass.
func (TMPD) Step(s *Step) error {
	d, residual, sums, w := s.Device, s.Tensor("residual", s.Y), s.Tensor("row sums", s.Y), s.Tensor("innovation", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	d.Map(sums, compute.Exp(0, 0), s.Y) // 1
	s.A.Adjoint(w, sums)
	column, err := s.Denoiser.JVP(w)
	if err != nil {
		return err
	}
	ab := s.Schedule.AlphaBar(s.Index)
	s.A.Apply(sums, column)
	d.Combine(sums, compute.Times((1-ab)/math.Sqrt(ab), sums))
	d.Map(sums, compute.Clamp(0, math.MaxFloat32), sums)
	d.Map(sums, compute.Pow(1, float32(s.SigmaY*s.SigmaY), -1), sums)
	innovation(s, residual)
	d.Mul(residual, residual, sums)
	s.A.Adjoint(w, residual)
	return drift(s, w, 1, true)
}
