package sdk

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Problem is a batch of measurements of unknown images, and the model that says
// what images look like.
type Problem struct {
	Prior    prior.Model
	Operator measure.Operator // A, on the prior's device
	// Nonlinear is the measurement y = f(x0) + n instead of a linear Operator; only
	// methods that need no more than f's gradient take it (guide.DPS).
	Nonlinear measure.Differentiable
	Y         []float32 // N measurements, dense [N, Out]
	N         int
	SigmaY    float64 // standard deviation of the measurement noise, images in [−1, 1]
}

// forward is the problem's operator, linear or not.
func (p Problem) forward() measure.Differentiable {
	if p.Operator != nil {
		return measure.Linear(p.Operator)
	}
	return p.Nonlinear
}

// Options say how to sample. Start from [Defaults].
type Options struct {
	Method   guide.Method
	CMI      *cmi.Options // nil: without the information term
	Schedule *diffusion.Schedule
	// DDIM samples with DDIM (Song et al. 2021) and this η, 0 to 1; nil samples
	// DDPM's ancestral chain.
	DDIM     *float64
	Variance diffusion.Variance // of the reverse step; learned where the model has it
	NoClip   bool               // do not limit x̂0 to [−1, 1]
	Noise    Noise              // nil: Philox keyed by Seed and Images
	Seed     uint64
	Images   []uint64 // the number of each image in the user's set; nil: 0, 1, …
	// OnStep is called after every step, on the sampler's goroutine.
	OnStep func(Progress)
	// Preview asks for x̂0 in Progress.
	Preview bool
}

// Progress is what a step tells.
type Progress struct {
	Step, Steps int       // Step counts from 1
	Passes      int       // network passes so far, in units of one forward (F)
	Residual    []float64 // ‖y − A x̂0‖ of each image
	Information []float64 // estimate of I(x0; y | x_t) in nats; nil where the term does not act
	Gradient    []float64 // ‖∇I‖
	Applied     []float64 // ‖w_t ∇I‖ after limiting
	Limited     int       // images whose term the trust radius shortened
	Preview     []float32 // clipped x̂0 [N,C,H,W]; nil unless asked for
}

// Noise is the source of a run's randomness. The sampler calls it with dense
// arrays of the whole batch.
type Noise interface {
	Initial(x []float32)                 // x_T ~ N(0, I)
	Step(z []float32, index int)         // z of the step index → index−1
	Probe(z []float32, index, probe int) // ±1
	Method(z []float32, index, draw int) // N(0, I): what a method draws for itself
}

// Solver runs the reverse process one step at a time. It belongs to one goroutine.
type Solver struct {
	p   Problem
	o   Options
	dev compute.Device
	ws  *compute.Workspace

	step   guide.Step
	std    compute.Tensor // σ of the reverse step per pixel: learned or fixed
	z      compute.Tensor // the step's noise, scaled
	noisy  bool
	dirs   map[direction]compute.Tensor // results of derivatives
	term   *cmi.Term
	host   []float32
	passes int
	next   int // index of the step to run next; −1 when done
}

// Validate says what is wrong with a problem and its options, before any work.
func (p Problem) Validate(o Options) error {
	if p.Prior == nil || p.Operator == nil && p.Nonlinear == nil || o.Method == nil || o.Schedule == nil {
		return fmt.Errorf("a prior, an operator, a method and a schedule are needed")
	}
	if p.Operator != nil && p.Nonlinear != nil {
		return fmt.Errorf("a problem has a linear operator or a nonlinear one, not both")
	}
	forward := p.forward()
	if _, any := o.Method.(guide.GradientOnly); p.Operator == nil && (o.CMI != nil || !any) {
		return fmt.Errorf("%s is not linear: use method dps without the information term", forward.Name())
	}
	c, h, w := p.Prior.Image()
	if oc, oh, ow := forward.In(); oc != c || oh != h || ow != w {
		return fmt.Errorf("the operator %s measures images of %d×%d×%d, the prior's are %d×%d×%d", forward.Name(), oc, oh, ow, c, h, w)
	}
	yc, yh, yw := forward.Out()
	if p.N < 1 || len(p.Y) != p.N*yc*yh*yw {
		return fmt.Errorf("%d measurements of %d×%d×%d need %d values, got %d", p.N, yc, yh, yw, p.N*yc*yh*yw, len(p.Y))
	}
	for i, v := range p.Y {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("measurement value %d is %v, finite numbers are wanted", i, v)
		}
	}
	if !(p.SigmaY > 0) || math.IsInf(p.SigmaY, 0) {
		return fmt.Errorf("the measurement noise is %v, a positive number is wanted (0.05 in the paper)", p.SigmaY)
	}
	if t := o.Schedule.Timestep(o.Schedule.Len() - 1); t >= p.Prior.Steps() {
		return fmt.Errorf("the schedule reaches timestep %d, the prior knows 0 to %d", t, p.Prior.Steps()-1)
	}
	if err := o.Variance.Validate(); err != nil {
		return err
	}
	if o.Variance == diffusion.LearnedRange && !p.Prior.LearnedVariance() {
		return fmt.Errorf("this prior has no learned variance: choose a fixed one")
	}
	if o.DDIM != nil && !(*o.DDIM >= 0 && *o.DDIM <= 1) {
		return fmt.Errorf("DDIM's eta is %v, 0 to 1 is wanted", *o.DDIM)
	}
	if o.Images != nil && len(o.Images) != p.N {
		return fmt.Errorf("%d image numbers for %d images", len(o.Images), p.N)
	}
	if o.CMI != nil {
		return o.CMI.Validate()
	}
	return nil
}

// NewSolver validates the problem and allocates everything a run needs. Close it.
func NewSolver(p Problem, o Options) (solver *Solver, err error) {
	if err := p.Validate(o); err != nil {
		return nil, err
	}
	forward := p.forward()
	c, h, w := p.Prior.Image()
	yc, yh, yw := forward.Out()
	if o.Noise == nil {
		o.Noise = newPhilox(o.Seed, o.Images, p.N)
	}

	dev := p.Prior.Device()
	s := &Solver{p: p, o: o, dev: dev, ws: compute.NewWorkspace(dev), dirs: map[direction]compute.Tensor{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	image := func() compute.Tensor { return s.ws.New(p.N, c, h, w) }
	s.step = guide.Step{
		Device: dev, Work: s.ws, Schedule: o.Schedule, Forward: forward, Operator: p.Operator, SigmaY: p.SigmaY,
		Y: s.ws.FromHost(p.Y, p.N, yc, yh, yw),
		X: image(), X0: image(), Proposal: image(), Mean: image(), Next: image(),
		Clips: !o.NoClip, Guidance: make([]float64, p.N),
	}
	s.step.Propose, s.step.NoiseNorm = s.proposeFrom, s.noiseNorm
	s.step.Random = func(z []float32, draw int) { s.o.Noise.Method(z, s.step.Index, draw) }
	s.step.Clipped = s.step.X0
	if s.step.Clips {
		s.step.Clipped = image()
	}
	s.std, s.z = image(), image()
	s.host = make([]float32, p.N*c*h*w)
	if err := s.ws.Err(); err != nil {
		return nil, err
	}
	if o.CMI != nil {
		if s.term, err = cmi.New(dev, p.Operator, p.N, *o.CMI); err != nil {
			return nil, err
		}
	}
	o.Noise.Initial(s.host)
	return s, s.SetState(s.host, o.Schedule.Len()-1)
}

// Close frees the solver's device memory.
func (s *Solver) Close() {
	if s.term != nil {
		s.term.Close()
	}
	for _, t := range s.dirs {
		s.dev.Free(t.Buf)
	}
	clear(s.dirs)
	s.ws.Free()
}

// SetState makes x [N,C,H,W] the state from which step index → index−1 is taken.
func (s *Solver) SetState(x []float32, index int) error {
	if len(x) != len(s.host) || index < -1 || index >= s.o.Schedule.Len() {
		return fmt.Errorf("a state of %d values before step %d: %d values and a step below %d are wanted", len(x), index, len(s.host), s.o.Schedule.Len())
	}
	s.dev.Write(s.step.X, x)
	s.next = index
	return s.dev.Sync()
}

// State reads the current state and the index of the step that comes next, −1
// when the run is done. With the same options it can be continued by SetState.
func (s *Solver) State() (x []float32, index int, err error) {
	x, err = compute.ToHost(s.dev, s.step.X)
	return x, s.next, err
}

// Passes is the number of network passes so far, in units of one forward.
func (s *Solver) Passes() int { return s.passes }

// Run takes all remaining steps and returns the restored images, [N,C,H,W] in
// about [−1, 1]. When ctx ends it stops before the next step with ctx's error; the
// state stays good for SetState.
func (s *Solver) Run(ctx context.Context) ([]float32, error) {
	for s.next >= 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.Step(); err != nil {
			return nil, err
		}
	}
	x, _, err := s.State()
	return x, err
}

// Step takes one reverse step.
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
		s.dev.Clamp(st.Clipped, st.X0, -1, 1)
	}
	scale, shift := sched.LogStd(i, s.o.Variance)
	v := st.X // any tensor will do where the variance is fixed: scale is 0
	if s.o.Variance == diffusion.LearnedRange {
		v = p.Out().Channels(c, 2*c)
	}
	s.dev.Exp(s.std, v, float32(scale), float32(shift))
	return point, nil
}

// propose draws the step's noise and samples the unconditional x′ with it.
func (s *Solver) propose(i int) {
	st, sched := &s.step, s.o.Schedule
	s.noisy = i > 0
	if s.noisy {
		s.o.Noise.Step(s.host, i)
		s.dev.Write(s.z, s.host)
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
	return s.norms(s.std)
}

// norms is ‖x‖ of each image.
func (s *Solver) norms(x compute.Tensor) ([]float64, error) {
	d, err := s.dev.Dot(x, x)
	for i := range d {
		d[i] = math.Sqrt(d[i])
	}
	return d, err
}

// information adds w_t ∇I(x_t), limited to the trust radius.
func (s *Solver) information(point *counted, i int, report *Progress) error {
	st, sched := &s.step, s.o.Schedule
	if s.term == nil || !s.o.CMI.Active(report.Step, sched.AlphaBar(i)) {
		return nil
	}
	level := cmi.Level{AlphaBar: sched.AlphaBar(i), SigmaY: s.p.SigmaY}
	grad, info, err := s.term.Gradient(point, level, func(k int, z []float32) { s.o.Noise.Probe(z, i, k) })
	if err != nil {
		return err
	}
	norm, err := s.norms(grad)
	if err != nil {
		return err
	}
	spread, err := s.norms(s.std)
	if err != nil {
		return err
	}
	w := s.o.CMI.Weight(sched.Beta(i))
	coef := make([]float64, s.p.N)
	report.Information, report.Gradient, report.Applied = info, make([]float64, s.p.N), make([]float64, s.p.N)
	for n := range coef {
		if math.IsNaN(norm[n]) || math.IsInf(norm[n], 0) {
			return fmt.Errorf("the information gradient is not finite at image %d: raise the window's alpha-bar or lower Lanczos steps", n)
		}
		coef[n] = w
		radius := s.o.CMI.Radius(spread[n], st.Guidance[n])
		if length := math.Abs(w) * norm[n]; length > radius {
			coef[n] *= radius / length
			report.Limited++
		}
		report.Gradient[n], report.Applied[n] = norm[n], math.Abs(coef[n])*norm[n]
	}
	s.dev.Combine(st.Next, compute.Times(1, st.Next), compute.Term{X: grad, Coef: coef})
	return nil
}

// finish makes the next state the current one, if it is finite, and reports.
func (s *Solver) finish(report *Progress) error {
	st := &s.step
	square, err := s.dev.Dot(st.Next, st.Next)
	if err != nil {
		return err
	}
	for n, v := range square {
		if math.IsNaN(v) || math.IsInf(v, 0) {
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
		if report.Residual, err = s.norms(residual); err != nil {
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

// counted is the prior at x_t seen as the Tweedie mean, counting
// passes.
type counted struct {
	prior.Point
	solver    *Solver
	cxt, ceps float64 // x̂0 = cxt·x_t + ceps·ε
}

// pullBack is Jᵀu, J = ∂x̂0/∂x_t = (I − σ_t ∂ε/∂x_t)/√ᾱ_t.
func (p *counted) pullBack(u compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	full := u
	if out := p.Out(); out.C != u.C { // the variance channels take no part
		var err error
		if full, err = s.result("cotangent", u.N, out); err != nil {
			return full, err
		}
		s.dev.Combine(full.Channels(0, u.C), compute.Times(1, u))
		s.dev.Combine(full.Channels(u.C, out.C), compute.Times(0, u))
	}
	g, err := p.Point.VJP(full)
	if err != nil {
		return g, err
	}
	s.passes++
	dst, err := s.result("VJP", u.N, u)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.cxt, u), compute.Times(p.ceps, g))
	}
	return dst, err
}

// JVP implements [cmi.Denoiser].
func (p *counted) JVP(v compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	jv, err := p.Point.JVP(v)
	if err != nil {
		return jv, err
	}
	s.passes += v.N / s.p.N
	dst, err := s.result("JVP", v.N, v)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.cxt, v), compute.Times(p.ceps, jv.Channels(0, v.C)))
	}
	return dst, err
}

// Second implements [cmi.Denoiser].
func (p *counted) Second(v, w compute.Tensor) (compute.Tensor, error) {
	s := p.solver
	d2, err := p.Point.Second(v, w)
	if err != nil {
		return d2, err
	}
	s.passes += 2 * v.N / s.p.N
	if v != w {
		s.passes += v.N / s.p.N
	}
	dst, err := s.result("second", v.N, v)
	if err == nil {
		s.dev.Combine(dst, compute.Times(p.ceps, d2.Channels(0, v.C)))
	}
	return dst, err
}

// direction names the result of a derivative: what it is, and of how many images.
type direction struct {
	of     string
	images int
}

// result is the tensor that holds a derivative of n images shaped like the given one.
func (s *Solver) result(of string, n int, like compute.Tensor) (compute.Tensor, error) {
	key := direction{of, n}
	if t, ok := s.dirs[key]; ok {
		return t, nil
	}
	t, err := compute.New(s.dev, n, like.C, like.H, like.W)
	if err == nil {
		s.dirs[key] = t
	}
	return t, err
}
