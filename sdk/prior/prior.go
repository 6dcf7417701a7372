// Package prior defines what a pretrained diffusion model is to the solver: a
// noise predictor ε(x_t, t) with directional derivatives.
//
// Implementations: [github.com/cmi-diffusion/cmi/sdk/prior/unet] (a network) and
// [github.com/cmi-diffusion/cmi/sdk/prior/mixture] (analytic, for validation).
// A model of your own needs only these two interfaces.
package prior

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Model predicts the noise in x_t = √ᾱ_t x0 + √(1−ᾱ_t) n.
type Model interface {
	// Image returns the size of the images that the model describes.
	Image() (channels, height, width int)
	// LearnedVariance says whether the output holds, after the channels of ε, as
	// many channels that interpolate the reverse step's log-variance (Nichol &
	// Dhariwal 2021).
	LearnedVariance() bool
	// Steps returns the number of training steps T; timesteps are 0 … T−1.
	Steps() int
	// Device is where tensors passed to the model live.
	Device() compute.Device
	// At evaluates the model at x [N,C,H,W] and one timestep per image. The point
	// is valid until the next call of At. Cost: one pass (1 F).
	At(x compute.Tensor, t []int) (Point, error)
	// Close frees what the model holds on its device.
	Close()
}

// Scheduled is a [Model] that knows its noise schedule.
type Scheduled interface {
	// NoiseSchedule returns the name of the schedule of training, such as "linear" or
	// "cosine", and its β of every step; empty and nil where the model does not know it.
	NoiseSchedule() (name string, betas []float64)
}

// MemoryEstimator is a [Model] that knows its memory before it runs.
type MemoryEstimator interface {
	// EstimateMemory returns the bytes of device memory that the model takes, beyond what
	// it has now, for those passes at a batch of images, negative where it frees
	// some; largest is those of one array.
	EstimateMemory(images int, p compute.Passes) (total, largest int64)
}

// Coster is a [Model] a pass of which is not one forward of a network: one that covers its
// images by windows of another model.
type Coster interface {
	// PassCost returns what a pass at a batch of images takes.
	PassCost(images int) PassCost
}

// PassCost is what a pass of a model takes, in forwards of its network for each image.
type PassCost struct {
	Value  int  // an evaluation, and each pass of a derivative
	Again  int  // what a derivative takes beside its passes, where activations are not kept
	Caches bool // points are a [TangentCache]
}

// CostOf returns what a pass of m takes: one forward, unless it is a [Coster].
func CostOf(m Model, images int) PassCost {
	if c, ok := m.(Coster); ok {
		return c.PassCost(images)
	}
	return PassCost{Value: 1, Caches: true}
}

// Forwards returns the forwards that evaluations, VJPs and JVPs take, one after the other,
// with jet a second derivative along a combination of the JVPs' directions too.
func (c PassCost) Forwards(values, adjoints, directions int, jet bool) int {
	passes, derivatives := values+adjoints+directions, adjoints+directions
	switch {
	case jet && !c.Caches:
		passes, derivatives = passes+SecondPasses(0), derivatives+1
	case jet:
		passes, derivatives = passes+SecondPasses(directions), derivatives+1
	}
	return c.Value*passes + c.Again*derivatives
}

// Point is a model evaluated at x_t, ready for derivatives with respect to x_t.
// Directions hold D·N images: image i is a direction at the point's image i mod N.
// Results are owned by the point and valid until its next call of the same method.
type Point interface {
	// Out returns the output [N,C',H,W]: ε, then variance channels if there are any.
	Out() compute.Tensor
	// VJP is Jᵀu with u [N,C',H,W] over all output channels. Cost 1 F.
	VJP(u compute.Tensor) (compute.Tensor, error)
	// JVP is Jv with v [D·N,C,H,W], over all output channels. Cost D F.
	JVP(v compute.Tensor) (compute.Tensor, error)
	// Second is D²f[v, w] = ∂²/∂α∂β f(x + αv + βw) at 0, over all output channels,
	// v and w of the same shape [D·N,C,H,W]. Cost 3·D F, or 2·D F where v and w are
	// the same tensor.
	Second(v, w compute.Tensor) (compute.Tensor, error)
}

// TangentCache is a [Point] that can cache the tangents of a JVP at every layer, so that
// the second derivative along a combination of such directions costs one pass less.
type TangentCache interface {
	// JVPCached is JVP of one direction an image, cached as number k = 0, 1, … Cost 1 F.
	JVPCached(k int, v compute.Tensor) (compute.Tensor, error)
	// SecondCached is D²f[v, v], v = Σ_k coef[k]·v_k of the cached directions; coef[k] has
	// a factor for each image. Cost 1 F.
	SecondCached(coef [][]float64) (compute.Tensor, error)
}
