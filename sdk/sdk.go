// Package sdk restores images from measurements y = f(x0) + n by sampling
// from p(x0 | y) with a pretrained diffusion model, with or without guidance by
// the conditional mutual information I(x0; y | x_t) (arXiv 2501.02880).
//
// A [Problem] names the model (package prior), the operator (package measure) and
// the measurements; [Options] name the sampling method (package guide), the
// information term (package cmi), the schedule and the seed. [Restore] runs it;
// a [Solver] runs it step by step; a [Place] runs it where a device may be lost.
//
// Images and measurements are dense NCHW float32 on the host, images in [−1, 1], and
// noise levels are on that scale: σ_y = 0.05 is 6.4 grey levels of 255. The numbers
// depend on the seed, never on the batch, and on the device no further than rounding.
//
// Errors say what was found, what is wanted and what to try. Those of a device wrap
// [compute.ErrMemory] or [compute.ErrLost]; a run that is stopped returns its context's
// error. Except for the context nothing here is safe for use by several goroutines at
// once: give each goroutine a device, a model and a solver of its own.
package sdk

import (
	"context"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Restore samples one image for each of the problem's N measurements, dense [N,C,H,W]
// in about [−1, 1]. It stops within one step when ctx ends, with ctx's error. What
// [Problem.Validate] finds, and a batch that would not fit the device's memory, are
// errors before any work; see [Place] for a device that is lost.
func Restore(ctx context.Context, p Problem, o Options) ([]float32, error) {
	s, err := NewSolver(p, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Run(ctx)
}

// Defaults are DPS with the scale for a task, by name as in [measure.Tasks] ("sr4",
// "inpaint", …; see [guide.DPSFor]), the linear schedule, and the model's own variance,
// in steps of the model's training steps: 1 to m.Steps(). Set CMI to [cmi.Defaults] to
// add the information term.
func Defaults(m prior.Model, task string, steps int) (Options, error) {
	betas, err := diffusion.Linear(m.Steps())
	if err != nil {
		return Options{}, err
	}
	schedule, err := diffusion.New(betas, steps)
	if err != nil {
		return Options{}, err
	}
	return Options{Method: guide.DPSFor(task, steps), Schedule: schedule, Variance: VarianceOf(m)}, nil
}

// VarianceOf returns the variance of the reverse step that suits a model: learned
// where it has one.
func VarianceOf(m prior.Model) diffusion.Variance {
	if m.LearnedVariance() {
		return diffusion.LearnedRange
	}
	return diffusion.FixedSmall
}

// Measure makes synthetic measurements y = A x + σ_y n, dense [N,Out], of images x,
// dense [N,C,H,W] in [−1, 1], σ_y ≥ 0. The noise is drawn from the seed for each image
// number (nil: 0, 1, …), so that an image's does not depend on the others.
func Measure(dev compute.Device, op measure.Operator, x []float32, sigmaY float64, seed uint64, images []uint64) ([]float32, error) {
	c, h, w := op.In()
	n := len(x) / max(1, c*h*w)
	if n == 0 || len(x) != n*c*h*w || images != nil && len(images) != n {
		return nil, fmt.Errorf("%d values are not a batch of %d×%d×%d images (with %d numbers)", len(x), c, h, w, len(images))
	}
	oc, oh, ow := op.Out()
	noise := make([]float32, n*oc*oh*ow)
	each(noise, newPhilox(seed, images, n).streams(0, 0, diffusion.Measurement), diffusion.Stream.Normals)
	return measure.Measure(dev, op, x, noise, sigmaY)
}
