package sdk

import (
	"context"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Solver runs the reverse process one step at a time. It belongs to one goroutine.
type Solver struct {
	p   Problem
	o   Options
	dev compute.Device
	ws  *compute.Workspace

	step      guide.Step
	std       compute.Tensor // σ of DDPM's reverse step per pixel: learned or fixed
	z         compute.Tensor // the step's noise, scaled
	noisy     bool
	roots     *krylov.Images // of the network's noise, made at its first step
	x0        *prior.Tweedie // x̂0 at x_t and its derivatives
	term      *cmi.Term
	host      []float32
	particles *particles // nil without
	next      int        // index of the step to run next; −1 when done
}

// NewSolver validates the problem, allocates what every step needs, and draws x_T; the
// first step allocates the rest. Close it. Prior and operator stay the caller's;
// several solvers may share them in turn, a whole step each.
func NewSolver(p Problem, o Options) (solver *Solver, err error) {
	if err := p.Validate(o); err != nil {
		return nil, err
	}
	if err := NewPlan(p.Prior, o, p.N).Fits(); err != nil {
		return nil, err
	}
	var ps *particles
	if o.Particles > 0 {
		ps = newParticles(p.N, o.Particles)
		p, o = withParticles(p, o)
	}
	c, h, w := p.Prior.Image()
	if o.Noise == nil {
		o.Noise = newPhilox(o.Seed, o.Images, p.N)
	}

	dev := p.Prior.Device()
	s := &Solver{p: p, o: o, dev: dev, ws: compute.NewWorkspace(dev), x0: prior.NewTweedie(p.Prior), particles: ps}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	image := func() compute.Tensor { return s.ws.New(p.N, c, h, w) }
	s.step = guide.Step{
		Device: dev, Work: s.ws, Schedule: o.Schedule, Operator: p.Operator, SigmaY: p.SigmaY,
		X: image(), X0: image(), Proposal: image(), Mean: image(), Next: image(),
		Clips: !o.NoClip, Denoiser: s.x0, Guidance: make([]float64, p.N),
	}
	if p.Operator != nil {
		yc, yh, yw := p.Operator.Out()
		s.step.Y = s.ws.FromHost(p.Y, p.N, yc, yh, yw)
		s.step.A, _ = p.Operator.(measure.Linear)
	}
	s.step.Evaluate = s.evaluate
	s.step.EvaluateAt = func(x0, x compute.Tensor, timesteps []int) error {
		return s.x0.AtTimesteps(x, s.o.Schedule, timesteps, x0)
	}
	s.step.Propose, s.step.NoiseNorm = s.proposeFrom, s.noiseNorm
	s.step.Random = func(z []float32, draw int) { s.o.Noise.Method(z, s.step.Index, draw) }
	s.step.Clipped = s.step.X0
	if s.step.Clips {
		s.step.Clipped = image()
	}
	if m, ok := o.Method.(guide.Carrier); ok {
		for range m.Carries() {
			s.step.Carried, s.step.NextCarried = append(s.step.Carried, image()), append(s.step.NextCarried, image())
		}
	}
	s.std, s.z = image(), image()
	s.host = make([]float32, p.N*c*h*w)
	if err := s.ws.Err(); err != nil {
		return nil, err
	}
	if o.CMI != nil {
		if s.term, err = cmi.New(dev, s.step.A, p.N, *o.CMI); err != nil {
			return nil, err
		}
	}
	if o.Saved != nil && o.Saved.X != nil {
		s.x0.Passes = o.Saved.Passes / o.perImage()
		return s, s.SetState(o.Saved.X, o.Saved.Next)
	}
	return s, s.initial()
}

// Close frees the solver's device memory.
func (s *Solver) Close() {
	if s.term != nil {
		s.term.Close()
	}
	s.x0.Close()
	s.ws.Free()
}

// SetState makes x, dense [N,C,H,W], the state from which step index → index−1 is
// taken, −1 ≤ index < the number of steps. After the images come as many values again for
// each tensor that the method carries ([guide.Carrier]); without these they are zero, as at
// the start. With [Options].Particles the images are all first particles, all second ones and so on, and three
// values for each follow at the end, whose sum is the logarithm of its weight, likewise. Passes goes on counting.
func (s *Solver) SetState(x []float32, index int) error {
	all, size := s.state(), len(s.host)
	if s.particles != nil {
		clear(s.particles.log)
		clear(s.particles.psi)
		if weights := 3 * s.p.N; len(x) == len(all)*size+weights {
			s.particles.weightsOfState(x[len(x)-weights:])
			x = x[:len(x)-weights]
		}
	}
	if len(x) == size {
		all = all[:1]
	}
	if len(x) != len(all)*size || index < -1 || index >= s.o.Schedule.Len() {
		return fmt.Errorf("a state of %d values before step %d: %d values and a step below %d are wanted", len(x), index, len(all)*size, s.o.Schedule.Len())
	}
	for k, one := range all {
		s.dev.Write(one, x[k*size:(k+1)*size])
	}
	if len(all) == 1 {
		s.clearCarried()
	}
	s.next = index
	return s.dev.Sync()
}

func (s *Solver) clearCarried() {
	for _, one := range s.step.Carried {
		s.dev.Combine(one, compute.Times(0, s.step.X))
	}
}

// state returns the tensors that a step starts from.
func (s *Solver) state() []compute.Tensor {
	return append([]compute.Tensor{s.step.X}, s.step.Carried...)
}

// State reads the current state, as SetState takes it, and the index of the step that
// comes next, −1 when the run is done. A solver of the same problem and options goes on
// from it by SetState, to the same result.
func (s *Solver) State() (x []float32, index int, err error) {
	for _, one := range s.state() {
		part, err := compute.ToHost(s.dev, one)
		if err != nil {
			return nil, s.next, err
		}
		x = append(x, part...)
	}
	if s.particles != nil {
		x = append(x, s.particles.weightsToState()...)
	}
	return x, s.next, nil
}

// Passes returns the number of network passes so far, in units of one forward.
func (s *Solver) Passes() int { return s.x0.Passes * s.o.perImage() }

// Run takes all remaining steps and returns the restored images, [N,C,H,W] in
// about [−1, 1]. When ctx ends it stops before the next derivative with ctx's error; the
// state stays that after the last whole step, good for SetState.
func (s *Solver) Run(ctx context.Context) ([]float32, error) {
	s.x0.Interrupt = ctx.Err
	defer func() { s.x0.Interrupt = nil }()
	for s.next >= 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.Step(); err != nil {
			return nil, err
		}
	}
	x, err := compute.ToHost(s.dev, s.step.X)
	if err != nil || s.particles == nil {
		return x, err
	}
	return s.picked(x, s.drawnParticles()), nil
}
