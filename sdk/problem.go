package sdk

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Problem is a batch of N measurements y = f(x0) + n of unknown images x0, all of one
// shape, and the model that says what images look like. Images measured differently
// are one batch by [measure.NewPerImage]. Without an operator nothing is measured, and
// the run draws N images from the prior: take the method [guide.Unconditional].
type Problem struct {
	Prior    prior.Model
	Operator measure.Operator // f, on the prior's device, for images of the prior's size
	Y        []float32        // N measurements, dense [N,Out]; zero where nothing is measured
	N        int              // ≥ 1
	SigmaY   float64          // standard deviation of the measurement noise, > 0, images in [−1, 1]
}

// Options say how to sample. Start from [Defaults].
type Options struct {
	Method   guide.Method
	CMI      *cmi.Options        // nil: without the information term
	Schedule *diffusion.Schedule // its length is the number of steps; the model's training schedule, respaced
	// DDIM samples with DDIM (Song et al. 2021) and this η, 0 to 1; nil samples
	// DDPM's ancestral chain.
	DDIM     *float64
	Variance diffusion.Variance // of the reverse step; see [VarianceOf]
	// NetworkNoise, where not nil, adds to the reverse step's noise what the network does not know of x̂0.
	NetworkNoise *NetworkNoise
	NoClip       bool  // do not limit x̂0 to [−1, 1]
	Noise        Noise // nil: Philox keyed by Seed and Images
	Seed         uint64
	Images       []uint64 // the number of each image in the user's set, which keys its noise; nil: 0, 1, …
	// FromMeasurement starts at what the measurement tells, see [guide.FromMeasurement], in place
	// of pure noise: for a Schedule of the first training steps alone ([diffusion.New]), which
	// begins in the middle of the process. The operator must be linear.
	FromMeasurement bool
	// Particles, where it is not 0, is the number P of states that follow each image, each by
	// the method's steps: twisted sequential Monte Carlo. They are weighed by what the posterior
	// gives them, resampled where the weights become too unequal, and the result is one of them,
	// drawn by the weights. For linear operators, DDPM or DDIM with an η above 0, and methods
	// whose steps have a density, see [guide.TakesParticles]. The last step is the prior's own.
	Particles int
	// OnStep is called after every step, on the sampler's goroutine. What it is given
	// stays valid.
	OnStep func(Progress)
	// Preview makes every Progress carry the current estimate x̂0.
	Preview bool
	// Saved, where not nil, is given the state after every step. A run that is given
	// the state of an earlier one with the same options goes on from it.
	Saved *Saved
}

// Progress is the report of a step. Slices but Preview have a value for each image.
type Progress struct {
	Step, Steps int       // Step counts from 1
	Images      int       // of the batch
	Passes      int       // network passes so far, in units of one forward (F)
	Residual    []float64 // ‖y − f(x̂0)‖; nil without an operator
	Information []float64 // estimate of I(x0; y | x_t) in nats; nil if the term was off in this step
	Gradient    []float64 // ‖∇I‖; nil likewise
	Applied     []float64 // ‖w_t ∇I‖ after limiting; nil likewise
	Limited     []bool    // did the trust radius shorten the term? nil likewise
	// With particles what is above is their mean by their weights, and these are not nil:
	ESS         []float64 // effective sample size (Σw)²/Σw² of the weights, before a resampling
	LogEvidence []float64 // estimate of log p(y) in nats: of the Gaussian evidence at x_t, and in the last step of y
	Preview     []float32 // clipped x̂0 [N,C,H,W], that of the largest weight; nil unless asked for
}

// Of returns the progress of one image. Passes stays as it is: an image takes as many
// network passes alone as in a batch.
func (p Progress) Of(image int) Progress {
	one := p
	one.Images = 1
	if p.Residual != nil {
		one.Residual = p.Residual[image : image+1]
	}
	if p.Information != nil {
		one.Information, one.Gradient = p.Information[image:image+1], p.Gradient[image:image+1]
		one.Applied, one.Limited = p.Applied[image:image+1], p.Limited[image:image+1]
	}
	if p.ESS != nil {
		one.ESS, one.LogEvidence = p.ESS[image:image+1], p.LogEvidence[image:image+1]
	}
	if p.Preview != nil {
		size := len(p.Preview) / p.Images
		one.Preview = p.Preview[image*size : (image+1)*size]
	}
	return one
}

// Noise is the source of a run's randomness. The sampler has it fill dense arrays of
// the whole batch, with particles all first ones of the images, then all second ones. Steps are numbered by index, N−1 the first, 0 the last, which has
// no step noise.
type Noise interface {
	Initial(x []float32)                 // x_T ~ N(0, I), [N,C,H,W]
	Step(z []float32, index int)         // N(0, I), [N,C,H,W], of the step index → index−1
	Probe(z []float32, index, probe int) // ±1, [N,Out] ([N,C,H,W] for cmi.TwoTrace), probe from 0
	Method(z []float32, index, draw int) // N(0, I), [N,C,H,W]: what a method draws for itself, draw from 0
}

// Validate says what is wrong with a problem and its options, before any work: what is
// missing, shapes that don't agree, values that are not finite or out of range.
func (p Problem) Validate(o Options) error {
	if p.Prior == nil || o.Method == nil || o.Schedule == nil {
		return fmt.Errorf("a prior, a method and a schedule are needed")
	}
	if err := p.validateMeasurement(o); err != nil {
		return err
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
	if err := guide.Validate(o.Method, o.DDIM); err != nil {
		return err
	}
	if err := o.NetworkNoise.Validate(o); err != nil {
		return err
	}
	if err := p.validateParticles(o); err != nil {
		return err
	}
	if o.Images != nil && len(o.Images) != p.N {
		return fmt.Errorf("%d image numbers for %d images", len(o.Images), p.N)
	}
	if o.CMI == nil {
		return nil
	}
	if o.DDIM != nil && *o.DDIM == 0 && o.CMI.TrustStd > 0 && !o.CMI.TrustAncestral {
		return fmt.Errorf("the term is limited to a multiple of the step's noise, and DDIM with eta 0 has none: take an eta above 0, or limit the term by the guidance")
	}
	if err := guide.TakesTerm(o.Method, o.Schedule); err != nil {
		return err
	}
	return o.CMI.Validate()
}

// validateMeasurement says what is wrong with the operator and the measurements.
func (p Problem) validateMeasurement(o Options) error {
	guides, linear, spectral := o.CMI != nil || o.FromMeasurement, o.CMI != nil, false
	for i := range o.Schedule.Len() {
		cost := o.Method.Cost(o.Schedule, i)
		if cost.Variance && !p.Prior.LearnedVariance() {
			return fmt.Errorf("the method %s takes the learned variance of the reverse step, and this prior has none: leave it out", o.Method.Name())
		}
		guides, linear, spectral = guides || cost.Guides, linear || cost.Linear, spectral || cost.Spectral
	}
	_, carries := o.Method.(guide.Carrier)
	_, starts := o.Method.(guide.Starter)
	var yc, yh, yw int
	if p.Operator != nil {
		name := p.Operator.Name()
		a, isLinear := p.Operator.(measure.Linear)
		_, hasGradient := p.Operator.(measure.Differentiable)
		switch {
		case o.FromMeasurement && carries && starts: // its start is of more than x_t
			return fmt.Errorf("the method %s has a start of its own, of all that it carries: start at pure noise", o.Method.Name())
		case o.FromMeasurement && !isLinear:
			return fmt.Errorf("%s is not linear, a run can't start from its measurement: start it at pure noise", name)
		case linear && !isLinear:
			return fmt.Errorf("%s is not linear: use method dps without the information term", name)
		case spectral && !measure.Exact(a):
			return fmt.Errorf("the singular values of %s are not known, which the method %s needs: use diffpir, which does without", name, o.Method.Name())
		case guides && !isLinear && !hasGradient:
			return fmt.Errorf("%s has no gradient, which the method %s needs", name, o.Method.Name())
		}
		c, h, w := p.Prior.Image()
		if oc, oh, ow := p.Operator.In(); oc != c || oh != h || ow != w {
			return fmt.Errorf("the operator %s measures images of %d×%d×%d, the prior's are %d×%d×%d", name, oc, oh, ow, c, h, w)
		}
		yc, yh, yw = p.Operator.Out()
	} else if guides {
		return fmt.Errorf("an operator is needed by the method %s, by the information term and by a start from the measurement: without one take the method unconditional", o.Method.Name())
	}
	if p.N < 1 || len(p.Y) != p.N*yc*yh*yw {
		return fmt.Errorf("%d measurements of %d×%d×%d need %d values, got %d", p.N, yc, yh, yw, p.N*yc*yh*yw, len(p.Y))
	}
	for i, v := range p.Y {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("measurement value %d is %v, finite numbers are wanted", i, v)
		}
	}
	if p.Operator != nil && (!(p.SigmaY > 0) || math.IsInf(p.SigmaY, 0)) {
		return fmt.Errorf("the measurement noise is %v, a positive number is wanted (0.05 in the paper): for a measurement without noise take a small one, such as 0.005", p.SigmaY)
	}
	return nil
}
