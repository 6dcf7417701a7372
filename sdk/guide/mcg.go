package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// MCG is the manifold constrained gradient (Chung et al. 2022): DPS's gradient with
// unit scale, then projection onto a measurement brought to the step's noise level,
//
//	q = x′ − g,  x_{t−1} = q + A⁺(y_t − A q),  y_t = √ᾱ_t y + √(1−ᾱ_t) z
//
// with ᾱ_t of the step's start. A⁺ is the operator's cheap lift where it has one,
// as published (the known pixels, nearest neighbour), else Aᵀ(AAᵀ + σ_y² I)⁻¹.
type MCG struct{}

// Name implements [Method].
func (MCG) Name() string { return "mcg" }

// Cost implements [Method].
func (MCG) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Linear: true, Adjoint: true}
}

// Step implements [Method]: one adjoint pass.
func (MCG) Step(s *Step) error {
	g, norm, err := residualGradient(s)
	if err != nil {
		return err
	}
	copy(s.Guidance, norm)
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal), compute.Times(-1, g))
	return project(s, s.Next)
}

// Projection replaces, in every unconditional step, what is measured by the
// measurement at the step's noise level: the baseline of Song et al. 2021.
type Projection struct{}

// Name implements [Method].
func (Projection) Name() string { return "projection" }

// Cost implements [Method].
func (Projection) Cost(*diffusion.Schedule, int) Cost { return Cost{Guides: true, Linear: true} }

// Step implements [Method].
func (Projection) Step(s *Step) error {
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal))
	if err := project(s, s.Next); err != nil {
		return err
	}
	return s.report()
}

// project makes q ← q + A⁺(y_t − A q).
func project(s *Step, q compute.Tensor) error {
	d, ab := s.Device, s.Schedule.AlphaBar(s.Index)
	gap, noise, back := s.Tensor("gap", s.Y), s.Tensor("noise", s.Y), s.Tensor("back", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.normal(noise, 0)
	s.A.Apply(gap, q)
	d.Combine(gap, compute.Times(-1, gap), compute.Times(math.Sqrt(ab), s.Y), compute.Times(math.Sqrt(1-ab), noise))
	if !measure.Lift(s.A, back, gap) {
		if err := measure.PseudoInverse(s.Work, s.A, back, gap, s.SigmaY*s.SigmaY); err != nil {
			return err
		}
	}
	d.Combine(q, compute.Times(1, q), compute.Times(1, back))
	return nil
}
