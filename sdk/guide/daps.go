package guide

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// DAPS is decoupled annealing posterior sampling (Zhang et al. 2025, arXiv 2407.01521,
// algorithm 1): each step denoises x_t to x̂0 by the probability flow in up to three
// evaluations of the network, draws an image
//
//	q ~ p(q | x̂0, y) ∝ N(q; x̂0, r² I) p(y | q)
//
// and adds the next level's noise to it, x_{t−1} = √ᾱ_s q + √(1−ᾱ_s) z. The state is drawn
// anew in each step, so that the information term, which moves x_t, has no place in it.
type DAPS struct {
	// Radius > 0 draws q in closed form where the operator is linear, with
	// r = Radius·min(σ_t/√ᾱ_t, 1). Otherwise q is drawn by Langevin steps from x̂0, with
	// r = σ_t/√ᾱ_t,
	//
	//	q ← q + h ∇ log p(q | x̂0, y) + √(2h) z
	Radius   float64
	Langevin int     // how many, ≥ 1
	StepSize float64 // h of the first step, falling to a hundredth of it in the last one
}

// renoise is DAPS's draw for the next level; those of Langevin's steps follow.
const renoise = furtherNoise

// Name implements [Method].
func (DAPS) Name() string { return "daps" }

// Cost implements [Method].
func (DAPS) Cost(_ *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Values: len(descent(index)) - 1}
}

// Validate implements [Validator].
func (m DAPS) Validate(ddim *float64) error {
	if m.Langevin < 1 || !(m.StepSize > 0) {
		return fmt.Errorf("daps takes %d Langevin steps of size %v, at least 1 and a positive number are wanted", m.Langevin, m.StepSize)
	}
	return ownStep(m, ddim)
}

// Step implements [Method].
func (m DAPS) Step(s *Step) error {
	d, x, q, z := s.Device, s.Tensor("descended", s.X), s.Tensor("guided x0", s.X), s.Tensor("method's noise", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	d.Combine(x, compute.Times(1, s.X))
	d.Combine(q, compute.Times(1, s.X0))
	if err := s.descend(q, x, 0, true); err != nil {
		return err
	}
	if m.Radius > 0 && s.A != nil {
		if err := s.conditionalDraw(q, m.Radius*min(s.relativeNoise(), 1)); err != nil {
			return err
		}
	} else {
		d.Combine(x, compute.Times(1, q))
		if err := m.langevin(s, q, x); err != nil {
			return err
		}
	}
	s.normal(z, renoise)
	prev := s.Schedule.AlphaBarPrev(s.Index)
	d.Combine(s.Next, compute.Times(math.Sqrt(prev), q), compute.Times(math.Sqrt(1-prev), z))
	return s.report()
}

// langevin moves q by the method's Langevin steps for the mean x0.
func (m DAPS) langevin(s *Step, q, x0 compute.Tensor) error {
	d, residual, slope, z := s.Device, s.Tensor("residual", s.Y), s.Tensor("slope", s.X), s.Tensor("method's noise", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	r := s.relativeNoise()
	toData, toMean, keep, noise := make([]float64, q.N), make([]float64, q.N), make([]float64, q.N), make([]float64, q.N)
	for i := range q.N {
		largest := 1.0 // of a nonlinear operator's slope, squared
		if s.A != nil {
			largest = measure.Of(s.A, i).LargestEigenvalue()
		}
		h := m.StepSize * (0.01 + 0.99*float64(s.Index)/float64(max(s.Schedule.Len()-1, 1)))
		h = min(h, 1/(largest/(s.SigmaY*s.SigmaY)+1/(r*r))) // a longer step overshoots
		toData[i], toMean[i] = h/(s.SigmaY*s.SigmaY), h/(r*r)
		keep[i], noise[i] = 1-toMean[i], math.Sqrt(2*h)
	}
	for j := range m.Langevin {
		s.Operator.Apply(residual, q)
		d.Combine(residual, compute.Times(1, s.Y), compute.Times(-1, residual))
		measure.VJP(s.Operator, slope, q, residual)
		s.normal(z, renoise+1+j)
		d.Combine(q, compute.Term{X: q, Coef: keep}, compute.Term{X: x0, Coef: toMean},
			compute.Term{X: slope, Coef: toData}, compute.Term{X: z, Coef: noise})
	}
	return nil
}
