// Package guide holds the sampling methods: ways to bend one reverse step of a
// diffusion model towards a measurement. Each is a file and a type with one method.
package guide

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Method turns the unconditional proposal of a step into the guided next state.
type Method interface {
	// Name is short and stable: "dps".
	Name() string
	// Cost returns what the step of that index asks of the network and of the operator.
	Cost(s *diffusion.Schedule, index int) Cost
	// Step writes s.Next, and the norm of the data guidance it added, per image, to
	// s.Guidance.
	Step(s *Step) error
}

// Cost is what a step asks of the network, beyond one evaluation at x_t, and of the
// operator. From it come the passes of a run, and the memory that it will take.
type Cost struct {
	Guides     bool // the measurement moves the step
	Linear     bool // takes Step.A: the operator must be linear
	Spectral   bool // takes functions of its singular values: see [measure.Exact]
	Adjoint    bool // takes Jᵀu
	Values     int  // further evaluations of the network, by Step.Evaluate
	Image      bool // the state is an image, not x_t: the network is not evaluated at it
	Directions int  // JVPs, one after the other
	Variance   bool // takes Step.Variance: the network must have learned it
	Jet        bool // takes D²x̂0[w, w], w a combination of the Directions where there are any
	Shifts     bool // Next is the Proposal moved by what the step's noise has no part in: its density is known
}

// Passes returns the cost of the step in forwards of a network.
func (c Cost) Passes() int { return c.Forwards(prior.PassCost{Value: 1, Caches: true}) }

// Forwards returns the cost of the step with a prior a pass of which takes that much.
func (c Cost) Forwards(of prior.PassCost) int {
	values, adjoints := c.Values, 0
	if !c.Image {
		values++
	}
	if c.Adjoint {
		adjoints++
	}
	return of.Forwards(values, adjoints, c.Directions, c.Jet)
}

// Validator is implemented by methods that don't go with every setting.
type Validator interface {
	// Validate says what is wrong with the method's settings, or with the base sampler
	// under it: DDIM with an η, nil for DDPM.
	Validate(ddim *float64) error
}

// Starter is implemented by methods that begin elsewhere than at pure noise.
type Starter interface {
	// Start makes s.X, standard normal noise, the state before the first step, s.Index.
	Start(s *Step) error
}

// Carrier is implemented by methods that carry more than x_t from step to step.
type Carrier interface {
	// Carries returns the number of tensors, see [Step].Carried.
	Carries() int
}

// FromMeasurement makes s.X, standard normal noise n, the state x_t = √ᾱ_t A⁺y + √(1−ᾱ_t) n of a run
// that starts in the middle, A⁺ = Aᵀ(A Aᵀ + σ_y² I)⁻¹ (Chung et al. 2022, arXiv 2112.05146).
func FromMeasurement(s *Step) error { return s.fromMeasurement(s.SigmaY) }

func (s *Step) fromMeasurement(sigmaY float64) error {
	y, lift := s.Tensor("residual", s.Y), s.Tensor("innovation", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.Device.Combine(y, compute.Times(1, s.Y))
	if err := s.solve(lift, y, 1, sigmaY*sigmaY, leastDamping); err != nil {
		return err
	}
	image, noise := s.Schedule.Forward(s.Index)
	s.Device.Combine(s.X, compute.Times(image, lift), compute.Times(noise, s.X))
	return nil
}

// ownStep is [Validator] of methods that take a reverse step of their own, which has no η.
func ownStep(m Method, ddim *float64) error {
	if ddim != nil {
		return fmt.Errorf("%s has a reverse step of its own: leave DDIM's eta out", m.Name())
	}
	return nil
}

// Validate says what a method that is a [Validator] finds wrong.
func Validate(m Method, ddim *float64) error {
	if v, ok := m.(Validator); ok {
		return v.Validate(ddim)
	}
	return nil
}

// TakesTerm says whether the information term, which is computed at x_t and moves x_{t−1},
// can be added to a method's steps.
func TakesTerm(m Method, s *diffusion.Schedule) error {
	for i := range s.Len() {
		if c := m.Cost(s, i); c.Image || c.Values > 0 {
			return fmt.Errorf("the method %s draws its state anew from an image, has several, or ends at another noise level, so that the information term has nothing to move: leave the term out or take another method", m.Name())
		}
	}
	return nil
}

// TakesParticles says whether the particles of a method can be weighed: each of its steps must
// have a density, see [Cost].Shifts, and begin at pure noise.
func TakesParticles(m Method, s *diffusion.Schedule) error {
	for i := range s.Len() {
		if !m.Cost(s, i).Shifts {
			return fmt.Errorf("the method %s takes steps whose density is not known, so that particles can't be weighed: leave them out, or take dps, pigdm, evidence, mmps, tmpd or pathwise-mean", m.Name())
		}
	}
	return nil
}

// Step is one reverse step x_t → x_{t−1} of a batch: what the base sampler has
// computed, and where the method leaves its result. All tensors are on one device;
// the method must not change the inputs.
type Step struct {
	Device   compute.Device
	Work     *compute.Workspace // for the method's own tensors, kept over all steps
	Schedule *diffusion.Schedule
	Index    int // respaced step, 0 the last

	Operator measure.Operator // y = f(x0) + n; nil where nothing is measured, and Y is empty
	A        measure.Linear   // the operator where it is linear, else nil
	Y        compute.Tensor   // measurements
	SigmaY   float64          // standard deviation of their noise, images in [−1, 1]

	X        compute.Tensor // x_t; where Cost.Image the image, and so are X0, Proposal and Mean
	Epsilon  compute.Tensor // ε(x_t)
	X0       compute.Tensor // Tweedie mean x̂0 = (x_t − σ_t ε)/√ᾱ_t
	Clipped  compute.Tensor // x̂0 limited to [−1, 1], or x̂0 itself where the sampler does not clip
	Proposal compute.Tensor // x′: the unconditional sample of x_{t−1}
	Mean     compute.Tensor // its mean
	Clips    bool
	// Variance is the network's variance channels at x_t ([diffusion.Schedule.PosteriorX0]), valid as
	// long as Epsilon; without a buffer where the network has learned no variance.
	Variance compute.Tensor

	// Denoiser gives derivatives of x̂0, not clipped, at x_t.
	Denoiser prior.Denoiser
	// Evaluate evaluates the network at another state x of a step's noise level: it writes
	// the Tweedie mean to x0 and returns ε, valid until the next call, which ends Epsilon
	// above and the Denoiser's point. [Cost.Values] counts the calls of
	// this and of EvaluateAt.
	Evaluate func(x0, x compute.Tensor, index int) (epsilon compute.Tensor, err error)
	// EvaluateAt is Evaluate at a training step of its own for each image; it gives no ε.
	EvaluateAt func(x0, x compute.Tensor, timesteps []int) error
	// Propose writes the sample and the mean that the base sampler would take with
	// another x̂0 and the same noise.
	Propose func(sample, mean, x0 compute.Tensor)
	// NoiseNorm is √Σσ² of each image: the norm of the step's standard deviation over
	// the pixels.
	NoiseNorm func() ([]float64, error)
	// Random fills z with the method's own standard normal noise of this step; draw
	// numbers several such fields.
	Random func(z []float32, draw int)

	// Carried is what the method, a [Carrier], has left in NextCarried in the step before; zeros
	// in the first step. Each has x_t's shape.
	Carried     []compute.Tensor
	NextCarried []compute.Tensor // result, of as many

	Next     compute.Tensor // result: x_{t−1}
	Guidance []float64      // result: ‖x_{t−1} − unguided‖ of each image
	Residual []float64      // result: ‖y − f(Clipped)‖ of each image if the method needed it, else nil

	space  *krylov.Space  // of [Evidence], made at its first step
	images *krylov.Images // of [Pathwise], likewise
}

// Tensor returns a scratch tensor of the method, made at the first call with that name
// and shaped like like.
func (s *Step) Tensor(name string, like compute.Tensor) compute.Tensor {
	return s.Work.ScratchLike(name, like)
}

// Unconditional ignores the measurement: the baseline.
type Unconditional struct{}

// Name implements [Method].
func (Unconditional) Name() string { return "unconditional" }

// Cost implements [Method].
func (Unconditional) Cost(*diffusion.Schedule, int) Cost { return Cost{Shifts: true} }

// Step implements [Method].
func (Unconditional) Step(s *Step) error {
	clear(s.Guidance)
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal))
	return nil
}
