package guide

import (
	"math"
	"slices"

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
type MCG struct {
	// Published takes the gradient of DPS.Published and, where a measurement has the shape of
	// an image, the projection of DPS's repository, q = y_t − A y_t − A q, which keeps nothing
	// of q that is not measured: apparently a slip.
	Published bool
}

// Name implements [Method].
func (MCG) Name() string { return "mcg" }

// Cost implements [Method].
func (MCG) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Linear: true, Adjoint: true}
}

// Step implements [Method]: one adjoint pass.
func (m MCG) Step(s *Step) error {
	g, norm, residual, err := averagedGradient(s, 0)
	if err != nil {
		return err
	}
	scales := slices.Repeat([]float64{1}, len(norm))
	if m.Published {
		if scales, err = publishedScale(s, 1, residual); err != nil {
			return err
		}
	}
	for i, n := range norm {
		s.Guidance[i] = scales[i] * n
		scales[i] *= -1
	}
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal), compute.Term{X: g, Coef: scales})
	if y, x := s.Y, s.X; m.Published && y.C == x.C && y.H == x.H && y.W == x.W {
		return publishedProject(s, s.Next)
	}
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
		if err := s.pseudoInverse(back, gap, s.SigmaY*s.SigmaY, leastDamping); err != nil {
			return err
		}
	}
	d.Combine(q, compute.Times(1, q), compute.Times(1, back))
	return nil
}

// publishedProject makes q ← y_t − A y_t − A q, of MCG.Published.
func publishedProject(s *Step, q compute.Tensor) error {
	d, ab := s.Device, s.Schedule.AlphaBar(s.Index)
	y, seen := s.Tensor("noise", s.Y), s.Tensor("gap", s.Y)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.normal(y, 0)
	d.Combine(y, compute.Times(math.Sqrt(ab), s.Y), compute.Times(math.Sqrt(1-ab), y))
	d.Combine(q, compute.Times(1, q), compute.Times(1, y))
	s.A.Apply(seen, q)
	d.Combine(q, compute.Times(1, y), compute.Times(-1, seen))
	return nil
}
