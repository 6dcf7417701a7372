package sdk

import (
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
)

// Step takes one reverse step x_t → x_{t−1}. A result that is not finite is an error;
// so is a step after the last.
func (s *Solver) Step() error {
	if s.next < 0 {
		return fmt.Errorf("the run is finished")
	}
	steps := s.o.Schedule.Len()
	report := Progress{Step: steps - s.next, Steps: steps, Images: s.p.N / s.o.perImage()}
	if err := s.take(s.next, &report); err != nil {
		return fmt.Errorf("step %d of %d: %w", report.Step, report.Steps, err)
	}
	s.next--
	report.Passes = s.Passes()
	if s.o.OnStep != nil {
		s.o.OnStep(report)
	}
	return nil
}

// take takes the step of index i: the sampler's proposal, the method's guidance, and the
// information term on top of it (arXiv 2501.02880, algorithm 1).
func (s *Solver) take(i int, report *Progress) error {
	if shared, ok := s.dev.(interface { // a device that has a [compute.Guard]
		Enter() error
		Leave()
	}); ok {
		if err := shared.Enter(); err != nil {
			return err
		}
		defer shared.Leave()
	}
	st := &s.step
	st.Index, st.Residual = i, nil
	if s.o.cost(i).Image {
		s.image()
	} else {
		if err := s.predict(i); err != nil { // x̂0(x_t)
			return err
		}
		if err := s.propose(i); err != nil { // x′ ~ p(x_{t−1} | x_t, x̂0)
			return err
		}
	}
	if err := s.o.method(i).Step(st); err != nil { // x_{t−1} = x′ + guidance
		return err
	}
	gradient, err := s.information(i, report) // ∇I(x_t), eqs. 13 and 14
	if err != nil {
		return err
	}
	if err := s.finish(i, gradient, report); err != nil { // x_{t−1} ← x_{t−1} + w_t ∇I
		return err
	}
	return s.save()
}

// save copies the state after this step into Options.Saved, if the caller asked for it, so
// that a run can resume from it.
func (s *Solver) save() error {
	if s.o.Saved == nil {
		return nil
	}
	x, _, err := s.State()
	if err != nil {
		return err
	}
	*s.o.Saved = Saved{X: x, Next: s.next - 1, Passes: s.Passes()}
	return nil
}

// predict runs the prior at x_t: the Tweedie mean and DDPM's standard deviation.
func (s *Solver) predict(i int) error {
	st, sched := &s.step, s.o.Schedule
	out, err := s.x0.At(st.X, sched, i, st.X0)
	if err != nil {
		return err
	}
	c := st.X.C
	st.Epsilon = out.Channels(0, c)
	if st.Clips {
		s.dev.Map(st.Clipped, compute.Clamp(-1, 1), st.X0)
	}
	variance := s.variance(i)
	scale, shift := sched.LogStd(i, variance)
	st.Variance = compute.Tensor{}
	if s.p.Prior.LearnedVariance() {
		st.Variance = out.Channels(c, 2*c)
	}
	v := st.X // with a fixed variance scale is 0, so the contents of v do not matter
	if variance == diffusion.LearnedRange {
		v = st.Variance
	}
	s.dev.Map(s.std, compute.Exp(float32(scale), float32(shift)), v)
	return nil
}

// evaluate is [guide.Step].Evaluate.
func (s *Solver) evaluate(x0, x compute.Tensor, index int) (compute.Tensor, error) {
	out, err := s.x0.At(x, s.o.Schedule, index, x0)
	return out.Channels(0, x.C), err
}

// image takes the state for x̂0 and for the proposal, where a method's state is an image.
func (s *Solver) image() {
	st := &s.step
	for _, dst := range []compute.Tensor{st.X0, st.Proposal, st.Mean} {
		s.dev.Combine(dst, compute.Times(1, st.X))
	}
	if st.Clips {
		s.dev.Map(st.Clipped, compute.Clamp(-1, 1), st.X0)
	}
}

// propose draws the step's noise and samples the unconditional x′ with it.
func (s *Solver) propose(i int) error {
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
	if s.o.networkNoiseActs(i) {
		if err := s.addNetworkNoise(i); err != nil {
			return err
		}
	}
	s.proposeFrom(st.Proposal, st.Mean, st.Clipped)
	return nil
}

// stepFactors returns the factors of x̂0 and of x_t in the mean of the base sampler's step.
func (s *Solver) stepFactors(i int) (ofX0, ofX float64) {
	sched := s.o.Schedule
	if s.o.DDIM == nil {
		return sched.DDPM(i)
	}
	c0, ceps, _ := sched.DDIM(i, *s.o.DDIM) // ε is the one that belongs to this x̂0
	ext, ex0 := sched.Epsilon(i)
	return c0 + ceps*ex0, ceps * ext
}

// proposeFrom is the base sampler's step from an estimate of x̂0.
func (s *Solver) proposeFrom(sample, mean, x0 compute.Tensor) {
	cx0, cxt := s.stepFactors(s.step.Index)
	s.dev.Combine(mean, compute.Times(cx0, x0), compute.Times(cxt, s.step.X))
	if s.noisy {
		s.dev.Combine(sample, compute.Times(1, mean), compute.Times(1, s.z))
	} else {
		s.dev.Combine(sample, compute.Times(1, mean))
	}
}

// noiseNorm returns √Σσ² of the step's noise over the pixels of each image.
func (s *Solver) noiseNorm() ([]float64, error) {
	if s.o.DDIM != nil {
		return s.ddimNorm(s.step.Index), nil
	}
	return compute.Norms(s.dev, s.std)
}

// ddimNorm returns √Σσ² of DDIM's step i, which is the same for all pixels.
func (s *Solver) ddimNorm(i int) []float64 {
	_, _, sigma := s.o.Schedule.DDIM(i, *s.o.DDIM)
	return slices.Repeat([]float64{sigma * math.Sqrt(float64(s.std.Len()))}, s.p.N)
}

// information computes ∇I(x_t) and reports the estimate of I; the tensor has no buffer
// where the term does not act.
func (s *Solver) information(i int, report *Progress) (gradient compute.Tensor, err error) {
	alphaBar := s.o.Schedule.AlphaBar(i)
	if !s.o.termActs(i) {
		return gradient, nil
	}
	guided := slices.ContainsFunc(s.step.Guidance, func(norm float64) bool { return norm > 0 })
	if s.o.CMI.TrustGuidance > 0 && !guided { // its radius is zero
		return gradient, nil
	}
	level := krylov.Level{AlphaBar: alphaBar, SigmaY: s.p.SigmaY}
	gradient, report.Information, err = s.term.Gradient(s.x0, level, func(k int, z []float32) { s.o.Noise.Probe(z, i, k) })
	return gradient, err
}

// finish adds w_t ∇I, limited to the trust radius, makes the next state the current one if
// it is finite, and reports. It waits for the device once.
func (s *Solver) finish(i int, gradient compute.Tensor, report *Progress) error {
	st, active := &s.step, gradient.Buf != nil
	if s.o.OnStep != nil && s.o.cost(max(i-1, 0)).Image { // the next state is an image: it is what is reported
		s.dev.Combine(st.Clipped, compute.Times(1, st.Next))
		if st.Clips {
			s.dev.Map(st.Clipped, compute.Clamp(-1, 1), st.Clipped)
		}
	}
	var next, x0, information, std []float64
	norms := normsOf{{st.Next, &next}, {st.X0, &x0}} // x̂0, because a clamp may hide a NaN
	if active {
		norms = append(norms, norm{gradient, &information})
		switch o := s.o.CMI; {
		case o.TrustStd == 0:
		case s.o.DDIM == nil || o.TrustAncestral:
			norms = append(norms, norm{s.std, &std})
		default:
			std = s.ddimNorm(min(max(i, 1), s.o.Schedule.Len()-1)) // the last step adds no noise
		}
	}
	if report.Residual = st.Residual; s.o.OnStep != nil && report.Residual == nil && st.Operator != nil {
		residual := st.Tensor("report", st.Y)
		if err := s.ws.Err(); err != nil {
			return err
		}
		st.Operator.Apply(residual, st.Clipped)
		s.dev.Combine(residual, compute.Times(1, st.Y), compute.Times(-1, residual))
		norms = append(norms, norm{residual, &report.Residual})
	}
	if err := norms.read(s.dev); err != nil {
		return err
	}

	if active {
		coef, limited, err := s.o.CMI.Limit(s.o.CMI.Weight(s.o.Schedule.Beta(i)), information, std, st.Guidance)
		if err != nil {
			return err
		}
		s.dev.Combine(st.Next, compute.Times(1, st.Next), compute.Term{X: gradient, Coef: coef})
		report.Gradient, report.Limited = information, limited
		for n, c := range coef {
			report.Applied = append(report.Applied, math.Abs(c)*information[n])
			next[n] += report.Applied[n] // no value of the sum is larger
		}
	}
	for n := range next {
		if !(next[n] <= math.MaxFloat32) || math.IsNaN(x0[n]) || math.IsInf(x0[n], 0) {
			return fmt.Errorf("image %d has diverged: lower the method's scale or the information weight", n%report.Images)
		}
	}
	if s.particles != nil {
		if err := s.weigh(i, report); err != nil {
			return err
		}
	}
	if s.o.OnStep != nil && s.o.Preview {
		var err error
		if report.Preview, err = compute.ToHost(s.dev, st.Clipped); err != nil {
			return err
		}
		if s.particles != nil {
			report.Preview = s.picked(report.Preview, s.particles.heaviest)
		}
	}
	st.X, st.Next = st.Next, st.X
	st.Carried, st.NextCarried = st.NextCarried, st.Carried
	return nil
}

// norm is where ‖x‖ of each image goes.
type norm struct {
	x  compute.Tensor
	to *[]float64
}

type normsOf []norm

// read waits once for all norms.
func (all normsOf) read(dev compute.Device) error {
	var tensors []compute.Tensor
	for _, n := range all {
		tensors = append(tensors, n.x)
	}
	norms, err := compute.NormsOf(dev, tensors...)
	if err != nil {
		return err
	}
	for k, n := range all {
		*n.to = norms[k]
	}
	return nil
}
