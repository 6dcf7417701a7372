package guide

import (
	"errors"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// DSG is diffusion with spherical Gaussian constraint (Yang et al. 2024): the
// steepest descent of the residual among the points where the noise of the step
// would have put the sample, a sphere of radius r = √Σσ² about the mean μ,
//
//	d* = −r g/‖g‖,  d = (x′ − μ) + rate (d* − (x′ − μ)),  x_{t−1} = μ + r d/‖d‖
//
// with DPS's g. The last step has no noise and stays unguided. It was published on DDIM with
// η = 1, and needs η > 0 there; on DDPM, Σσ² is the sum of the pixels' learned variances.
type DSG struct {
	Interval int     // guide every Interval-th step, ≥ 1
	Rate     float64 // 0 (unguided) to 1 (steepest descent)
}

// DSGFor returns the published interval and rate for a task and number of steps, those
// of the nearest count of 1000, 100 and 50.
func DSGFor(task string, steps int) DSG {
	sr := isSuperResolution(task)
	switch {
	case steps > 300 && sr:
		return DSG{20, 0.2}
	case steps > 300:
		return DSG{5, 0.2}
	case steps > 75 && sr:
		return DSG{2, 0.1}
	case isInpainting(task):
		return DSG{1, 0.2}
	}
	return DSG{1, 0.1}
}

// Name implements [Method].
func (DSG) Name() string { return "dsg" }

// Cost implements [Method].
func (m DSG) Cost(_ *diffusion.Schedule, index int) Cost {
	guides := index > 0 && index%max(m.Interval, 1) == 0 // the last step has no noise to steer
	return Cost{Guides: guides, Adjoint: guides}
}

// Validate implements [Validator].
func (DSG) Validate(ddim *float64) error {
	if ddim != nil && *ddim == 0 {
		return errors.New("dsg steers the noise of a step, and DDIM with eta 0 has none: take an eta above 0 (1 as published) or DDPM")
	}
	return nil
}

// Step implements [Method]: one adjoint pass in the steps that are guided.
func (m DSG) Step(s *Step) error {
	if !m.Cost(s.Schedule, s.Index).Guides {
		return Unconditional{}.Step(s)
	}
	d := s.Device
	g, length, err := residualGradient(s)
	if err != nil {
		return err
	}
	radius, err := s.NoiseNorm()
	if err != nil {
		return err
	}
	steer := make([]float64, len(radius))
	for i := range steer {
		steer[i] = -m.Rate * radius[i] / (length[i] + 1e-8)
	}
	direction := s.Tensor("direction", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	d.Combine(direction, compute.Times(1-m.Rate, s.Proposal), compute.Times(m.Rate-1, s.Mean), compute.Term{X: g, Coef: steer})
	unit, err := compute.Norms(d, direction)
	if err != nil {
		return err
	}
	for i, v := range unit {
		unit[i] = radius[i] / (v + 1e-8)
	}
	d.Combine(s.Next, compute.Times(1, s.Mean), compute.Term{X: direction, Coef: unit})
	d.Combine(direction, compute.Times(1, s.Next), compute.Times(-1, s.Proposal))
	moved, err := compute.Norms(d, direction)
	copy(s.Guidance, moved)
	return err
}
