package sdk

import (
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// Step takes one reverse step x_t → x_{t−1}. A result that is not finite is an error;
// so is a step after the last.
func (s *Solver) Step() error {
	if s.next < 0 {
		return fmt.Errorf("the run is finished")
	}
	st, sched, i := &s.step, s.o.Schedule, s.next
	st.Index = i
	point, err := s.evaluate(i)
	if err != nil {
		return fmt.Errorf("step %d of %d: %w", sched.Len()-i, sched.Len(), err)
	}
	s.propose(i)
	report := Progress{Step: sched.Len() - i, Steps: sched.Len()}
	if err = s.o.Method.Step(st); err == nil {
		err = s.information(point, i, &report)
	}
	if err == nil {
		err = s.finish(&report)
	}
	if err == nil {
		err = s.save()
	}
	if err != nil {
		return fmt.Errorf("step %d of %d: %w", report.Step, report.Steps, err)
	}
	s.next--
	report.Passes = s.passes
	if s.o.OnStep != nil {
		s.o.OnStep(report)
	}
	return nil
}

// save gives the state after this step to who asked for it.
func (s *Solver) save() error {
	if s.o.Saved == nil {
		return nil
	}
	x, err := compute.ToHost(s.dev, s.step.X)
	if err == nil {
		*s.o.Saved = Saved{X: x, Next: s.next - 1, Passes: s.passes}
	}
	return err
}

// evaluate runs the prior at x_t and forms the Tweedie mean.
func (s *Solver) evaluate(i int) (*counted, error) {
	st, sched := &s.step, s.o.Schedule
	t := make([]int, s.p.N)
	for n := range t {
		t[n] = sched.Timestep(i)
	}
	p, err := s.p.Prior.At(st.X, t)
	if err != nil {
		return nil, err
	}
	s.passes++
	c := st.X.C
	point := &counted{Point: p, solver: s}
	point.cxt, point.ceps = sched.Tweedie(i)
	st.Denoiser, st.PullBack = point, point.pullBack
	st.Epsilon = p.Out().Channels(0, c)
	s.dev.Combine(st.X0, compute.Times(point.cxt, st.X), compute.Times(point.ceps, st.Epsilon))
	if st.Clips {
		s.dev.Map(st.Clipped, compute.Clamp(-1, 1), st.X0)
	}
	scale, shift := sched.LogStd(i, s.o.Variance)
	v := st.X // any tensor will do where the variance is fixed: scale is 0
	if s.o.Variance == diffusion.LearnedRange {
		v = p.Out().Channels(c, 2*c)
	}
	s.dev.Map(s.std, compute.Exp(float32(scale), float32(shift)), v)
	return point, nil
}

// propose draws the step's noise and samples the unconditional x′ with it.
func (s *Solver) propose(i int) {
	st, sched := &s.step, s.o.Schedule
	s.noisy = i > 0
	if s.noisy {
		s.stepNoise(s.z, i)
		if s.o.DDIM == nil {
			s.dev.Mul(s.z, s.z, s.std)
		} else if _, _, sigma := sched.DDIM(i, *s.o.DDIM); sigma > 0 {
			s.dev.Combine(s.z, compute.Times(sigma, s.z))
		} else {
			s.noisy = false
		}
	}
	s.proposeFrom(st.Proposal, st.Mean, st.Clipped)
}

// proposeFrom is the base sampler's step from an estimate of x̂0.
func (s *Solver) proposeFrom(sample, mean, x0 compute.Tensor) {
	i, sched := s.step.Index, s.o.Schedule
	var cx0, cxt float64
	if s.o.DDIM == nil {
		cx0, cxt = sched.DDPM(i)
	} else { // ε is the one that belongs to this x̂0
		c0, ceps, _ := sched.DDIM(i, *s.o.DDIM)
		ext, ex0 := sched.Epsilon(i)
		cx0, cxt = c0+ceps*ex0, ceps*ext
	}
	s.dev.Combine(mean, compute.Times(cx0, x0), compute.Times(cxt, s.step.X))
	if s.noisy {
		s.dev.Combine(sample, compute.Times(1, mean), compute.Times(1, s.z))
	} else {
		s.dev.Combine(sample, compute.Times(1, mean))
	}
}

// noiseNorm is √Σσ² of the step's noise over the pixels of each image.
func (s *Solver) noiseNorm() ([]float64, error) {
	if s.o.DDIM != nil {
		_, _, sigma := s.o.Schedule.DDIM(s.step.Index, *s.o.DDIM)
		return slices.Repeat([]float64{sigma * math.Sqrt(float64(s.std.Len()))}, s.p.N), nil
	}
	return compute.Norms(s.dev, s.std)
}

// information adds w_t ∇I(x_t), limited to the trust radius.
func (s *Solver) information(point *counted, i int, report *Progress) error {
	st, sched := &s.step, s.o.Schedule
	if s.term == nil || !s.o.CMI.Active(report.Step, sched.AlphaBar(i)) {
		return nil
	}
	spread, err := compute.Norms(s.dev, s.std)
	if err != nil {
		return err
	}
	radius, room := make([]float64, s.p.N), false
	for n := range radius {
		radius[n] = s.o.CMI.Radius(spread[n], st.Guidance[n])
		room = room || radius[n] > 0
	}
	if !room { // an unguided step, where the term's length is tied to the guidance
		return nil
	}
	level := cmi.Level{AlphaBar: sched.AlphaBar(i), SigmaY: s.p.SigmaY}
	grad, info, err := s.term.Gradient(point, level, func(k int, z []float32) { s.o.Noise.Probe(z, i, k) })
	if err != nil {
		return err
	}
	norm, w := s.term.Norms(), s.o.CMI.Weight(sched.Beta(i))
	coef := make([]float64, s.p.N)
	report.Information, report.Gradient, report.Applied, report.LimitedOf = info, make([]float64, s.p.N), make([]float64, s.p.N), make([]bool, s.p.N)
	for n := range coef {
		coef[n] = w
		if length := math.Abs(w) * norm[n]; length > radius[n] {
			coef[n] *= radius[n] / length
			report.Limited++
			report.LimitedOf[n] = true
		}
		report.Gradient[n], report.Applied[n] = norm[n], math.Abs(coef[n])*norm[n]
	}
	s.dev.Combine(st.Next, compute.Times(1, st.Next), compute.Term{X: grad, Coef: coef})
	return nil
}

// finish makes the next state the current one, if it is finite, and reports.
func (s *Solver) finish(report *Progress) error {
	st := &s.step
	norm, err := compute.Norms(s.dev, st.Next)
	if err != nil {
		return err
	}
	predicted, err := compute.Norms(s.dev, st.X0) // a clamp may hide a NaN
	if err != nil {
		return err
	}
	for n, v := range norm {
		if sum := v + predicted[n]; math.IsNaN(sum) || math.IsInf(sum, 0) {
			return fmt.Errorf("image %d has diverged: lower the method's scale or the information weight", n)
		}
	}
	if s.o.OnStep != nil {
		residual := st.Tensor("report", st.Y)
		if err := s.ws.Err(); err != nil {
			return err
		}
		st.Forward.Apply(residual, st.Clipped)
		s.dev.Combine(residual, compute.Times(1, st.Y), compute.Times(-1, residual))
		if report.Residual, err = compute.Norms(s.dev, residual); err != nil {
			return err
		}
		if s.o.Preview {
			if report.Preview, err = compute.ToHost(s.dev, st.Clipped); err != nil {
				return err
			}
		}
	}
	st.X, st.Next = st.Next, st.X
	return nil
}
