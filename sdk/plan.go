package sdk

import (
	"fmt"
	"sort"
	"time"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Plan is what a run takes, known before it runs. Passes are in units of one forward of
// the network, with a prior that has a [prior.TangentCache], as networks do.
type Plan struct {
	Images       int
	MethodPasses int // of the sampler and its method, of all particles of an image; a batch takes as many as one image
	TermPasses   int // of the information term
	// Memory is about the bytes of device memory beyond what the prior holds now; exact
	// for the network, whose activations are nearly all of it. It is 0 where the prior
	// can't tell.
	Memory       int64
	LargestArray int64 // bytes

	model   prior.Model
	options Options
}

// NewPlan plans a run of n images.
func NewPlan(m prior.Model, o Options, n int) Plan {
	p := Plan{Images: n, model: m, options: o}
	each := o.perImage()
	pass := prior.CostOf(m, n*each)
	for i := range o.Schedule.Len() {
		cost := o.cost(i)
		p.MethodPasses += each * cost.Forwards(pass)
		if o.networkNoiseActs(i) {
			p.MethodPasses += each * pass.Forwards(0, 0, o.NetworkNoise.Lanczos, false)
		}
		// A term whose norm is tied to the guidance rests where there is none.
		if o.termActs(i) && (cost.Guides || o.CMI.TrustGuidance == 0) {
			p.TermPasses += each * o.CMI.Probes * pass.Forwards(0, 0, o.CMI.Lanczos, true)
		}
	}
	if estimator, ok := m.(prior.MemoryEstimator); ok {
		c, h, w := m.Image()
		images := 24 // states, noise, directions and the Krylov basis
		if c, ok := o.Method.(guide.Carrier); ok {
			images += 3 * c.Carries() // before and after a step, and what becomes of them
		}
		if o.Particles > 0 {
			images += 6
		}
		if o.NetworkNoise != nil {
			images += 2 + o.NetworkNoise.Lanczos
		}
		p.Memory, p.LargestArray = estimator.EstimateMemory(n*each, derivatives(o))
		p.Memory += int64(images) * 4 * int64(n*each*c*h*w)
	}
	return p
}

// derivatives returns those that a run takes at each point.
func derivatives(o Options) (p compute.Passes) {
	for i := range o.Schedule.Len() {
		cost := o.cost(i)
		p.VJP = p.VJP || cost.Adjoint
		if o.networkNoiseActs(i) {
			p.JVP = 1
		}
		switch {
		case cost.Jet && cost.Directions > 0:
			p.Cached = max(p.Cached, cost.Directions)
		case cost.Jet:
			p.Second = 1
		case cost.Directions > 0:
			p.JVP = 1
		}
	}
	switch {
	case o.CMI == nil:
	case o.CMI.Estimator != cmi.Probe:
		p.JVP, p.Second = dense.Directions, dense.Directions
	default:
		p.Cached = max(p.Cached, o.CMI.Lanczos)
		if o.CMI.Lanczos == 0 {
			p.Second = 1
		}
	}
	return p
}

// TakesValuesOnly says that the run evaluates the network and takes no derivative of it.
func (p Plan) TakesValuesOnly() bool { return derivatives(p.options) == compute.Passes{} }

// Passes returns the number of network passes of the run.
func (p Plan) Passes() int { return p.MethodPasses + p.TermPasses }

// Time returns how long the run takes, from the measured times of a pass of the method and of
// one of the term.
func (p Plan) Time(methodPass, termPass time.Duration) time.Duration {
	return time.Duration(p.MethodPasses)*methodPass + time.Duration(p.TermPasses)*termPass
}

const mebibyte = 1 << 20

// short says what the device lacks for the run, "" where it lacks nothing.
func (p Plan) short() string {
	device := p.model.Device().Info()
	switch mib := func(bytes int64) int64 { return (bytes + mebibyte - 1) / mebibyte }; {
	case device.MaxArray > 0 && p.LargestArray > device.MaxArray:
		return fmt.Sprintf("an array of %d MiB on %s, which takes %d MiB in one", mib(p.LargestArray), device.Name, device.MaxArray/mebibyte)
	case device.Memory > 0 && p.Memory > device.Memory:
		return fmt.Sprintf("%d MiB of memory on %s, %d MiB are free", mib(p.Memory), device.Name, device.Memory/mebibyte)
	}
	return ""
}

// Fits refuses a run that the prior's device can't hold, before any work: with
// [compute.ErrMemory], what is needed, what there is and the batch that would fit.
// [NewSolver] asks too.
func (p Plan) Fits() error {
	what := p.short()
	if what == "" {
		return nil
	}
	most := sort.Search(p.Images-1, func(n int) bool { return NewPlan(p.model, p.options, n+1).short() != "" })
	advice := fmt.Sprintf("a batch of %d would fit", most)
	if most == 0 {
		advice = "not even one image fits: take a smaller model or another device"
		if p.options.Particles > 1 {
			advice = "not even one image fits: take fewer particles"
		} else if p.options.CMI != nil {
			advice = "not even one image fits: leave the information term out, or take a smaller model or another device"
		}
	}
	return fmt.Errorf("a batch of %d needs %s: %s: %w", p.Images, what, advice, compute.ErrMemory)
}
