package prior

import (
	"errors"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// Denoiser is the Tweedie mean x̂0 at the current x_t of N images, not clipped, seen
// through its derivatives; J = ∂x̂0/∂x_t. Directions hold D·N images, image i at point
// i mod N. Results are valid until the next call of the same method.
type Denoiser interface {
	// VJP is Jᵀu. u has N images.
	VJP(u compute.Tensor) (compute.Tensor, error)
	// JVP is J v.
	JVP(v compute.Tensor) (compute.Tensor, error)
	// Second is D²x̂0[v, w]; cheaper where v and w are the same tensor.
	Second(v, w compute.Tensor) (compute.Tensor, error)
	// JVPCached is J v of one direction an image, the k-th of those that SecondAlong
	// combines, k = 0, 1, …
	JVPCached(k int, v compute.Tensor) (compute.Tensor, error)
	// SecondAlong is D²x̂0[v, v] along v = Σ_k coef[k]·v_k of the directions of JVPCached
	// at this x_t; coef[k] has a factor for each image. See [SecondPasses] for its cost.
	SecondAlong(v compute.Tensor, coef [][]float64) (compute.Tensor, error)
}

// SecondPasses returns the cost, in forwards, of the second derivative along a combination
// of directions of [Denoiser.JVPCached] with a model that has a [TangentCache], or along a
// direction of its own where directions is 0.
func SecondPasses(directions int) int {
	if directions > 0 {
		return 1
	}
	return 2
}

// Tweedie is the Tweedie mean x̂0 = (x_t − σ_t ε)/√ᾱ_t of a model as a [Denoiser], which
// counts the network's passes. It keeps the results' memory until Close.
type Tweedie struct {
	Passes int // so far, in units of one forward (F)
	// Interrupt, unless nil, is called before each derivative, which returns its error.
	Interrupt func() error

	model     Model
	point     Point
	images    int
	channels  int
	cost      PassCost
	cxt, ceps float64 // x̂0 = cxt·x_t + ceps·ε
	results   *compute.Workspace
}

// NewTweedie returns the Tweedie mean of a model. The model stays the caller's.
func NewTweedie(m Model) *Tweedie {
	return &Tweedie{model: m, results: compute.NewWorkspace(m.Device())}
}

// Close frees the results.
func (t *Tweedie) Close() { t.results.Free() }

// At evaluates the model at x_t [N,C,H,W], the state before step index of a schedule, and
// writes x̂0 to mean. out is the model's output, see [Point.Out]. Cost 1 F.
func (t *Tweedie) At(x compute.Tensor, s *diffusion.Schedule, index int, mean compute.Tensor) (out compute.Tensor, err error) {
	timesteps := make([]int, x.N)
	for n := range timesteps {
		timesteps[n] = s.Timestep(index)
	}
	if t.point, err = t.model.At(x, timesteps); err != nil {
		return out, err
	}
	t.cost = CostOf(t.model, x.N)
	t.Passes += t.cost.Value
	t.images, t.channels = x.N, x.C
	t.cxt, t.ceps = s.Tweedie(index)
	out = t.point.Out()
	t.model.Device().Combine(mean, compute.Times(t.cxt, x), compute.Times(t.ceps, out.Channels(0, x.C)))
	return out, nil
}

// AtTimesteps evaluates the model at states x of another noise level for each image, training steps of
// a schedule, and writes x̂0 to mean. There are no derivatives at it. Cost 1 F.
func (t *Tweedie) AtTimesteps(x compute.Tensor, s *diffusion.Schedule, timesteps []int, mean compute.Tensor) error {
	point, err := t.model.At(x, timesteps)
	t.point = nil
	if err != nil {
		return err
	}
	t.Passes += CostOf(t.model, x.N).Value
	image, noise := make([]float64, x.N), make([]float64, x.N)
	for n, step := range timesteps {
		ab := s.TrainingAlphaBar(step)
		image[n], noise[n] = 1/math.Sqrt(ab), -math.Sqrt((1-ab)/ab)
	}
	t.model.Device().Combine(mean, compute.Term{X: x, Coef: image}, compute.Term{X: point.Out().Channels(0, x.C), Coef: noise})
	return nil
}

// errNoPoint is returned by derivatives after AtTimesteps.
var errNoPoint = errors.New("the network has no derivatives at a state of several noise levels: evaluate it at one")

// VJP implements [Denoiser]: Jᵀu = (I − σ_t ∂ε/∂x_t)ᵀu/√ᾱ_t.
func (t *Tweedie) VJP(u compute.Tensor) (compute.Tensor, error) {
	if t.point == nil {
		return u, errNoPoint
	}
	dev, full := t.model.Device(), u
	if out := t.point.Out(); out.C != u.C { // the variance channels take no part
		full = t.results.Scratch("cotangent", u.N, out.C, out.H, out.W)
		if err := t.results.Err(); err != nil {
			return full, err
		}
		dev.Combine(full.Channels(0, u.C), compute.Times(1, u))
		dev.Combine(full.Channels(u.C, out.C), compute.Times(0, u))
	}
	return t.derivative("VJP", u, t.cxt, 1, func() (compute.Tensor, error) { return t.point.VJP(full) })
}

// JVP implements [Denoiser].
func (t *Tweedie) JVP(v compute.Tensor) (compute.Tensor, error) {
	return t.derivative("JVP", v, t.cxt, v.N/t.images, func() (compute.Tensor, error) { return t.point.JVP(v) })
}

// JVPCached implements [Denoiser].
func (t *Tweedie) JVPCached(k int, v compute.Tensor) (compute.Tensor, error) {
	if cache, ok := t.point.(TangentCache); ok {
		return t.derivative("JVP", v, t.cxt, 1, func() (compute.Tensor, error) { return cache.JVPCached(k, v) })
	}
	return t.JVP(v)
}

// Second implements [Denoiser].
func (t *Tweedie) Second(v, w compute.Tensor) (compute.Tensor, error) {
	passes := 2 * v.N / t.images
	if v != w {
		passes += v.N / t.images
	}
	return t.derivative("second", v, 0, passes, func() (compute.Tensor, error) { return t.point.Second(v, w) })
}

// SecondAlong implements [Denoiser].
func (t *Tweedie) SecondAlong(v compute.Tensor, coef [][]float64) (compute.Tensor, error) {
	if cache, ok := t.point.(TangentCache); ok {
		return t.derivative("second", v, 0, 1, func() (compute.Tensor, error) { return cache.SecondCached(coef) })
	}
	return t.Second(v, v)
}

// derivative is cxt·v + ceps·(the derivative of ε that of computes), v's shape, and counts
// the passes that this takes.
func (t *Tweedie) derivative(name string, v compute.Tensor, cxt float64, passes int, of func() (compute.Tensor, error)) (compute.Tensor, error) {
	if t.point == nil {
		return v, errNoPoint
	}
	if t.Interrupt != nil {
		if err := t.Interrupt(); err != nil {
			return v, err
		}
	}
	d, err := of()
	if err != nil {
		return d, err
	}
	t.Passes += passes*t.cost.Value + t.cost.Again
	dst := t.results.ScratchLike(name, v)
	if err := t.results.Err(); err != nil {
		return dst, err
	}
	terms := []compute.Term{compute.Times(t.ceps, d.Channels(0, v.C))}
	if cxt != 0 {
		terms = []compute.Term{compute.Times(cxt, v), terms[0]}
	}
	t.model.Device().Combine(dst, terms...)
	return dst, nil
}
