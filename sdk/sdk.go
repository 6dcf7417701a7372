// Package sdk restores images from linear measurements y = A x0 + n by sampling
// from p(x0 | y) with a pretrained diffusion model, with or without guidance by
// the conditional mutual information I(x0; y | x_t) (arXiv 2501.02880).
//
// A [Problem] names the model (package prior), the operator (package measure) and
// the measurements; [Options] name the sampling method (package guide), the
// information term (package cmi), the schedule and the seed. [Restore] runs it;
// a [Solver] runs it step by step.
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

// Restore samples one image for each measurement, [N,C,H,W] in about [−1, 1].
// It stops within one step when ctx ends.
func Restore(ctx context.Context, p Problem, o Options) ([]float32, error) {
	s, err := NewSolver(p, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Run(ctx)
}

// Defaults are DPS for a task ("sr4", "inpaint", …; see [guide.DPSFor]) with the linear schedule in so
// many of the model's training steps. Set CMI to add the information term.
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

// VarianceOf is the variance of the reverse step that suits a model: learned
// where it has one.
func VarianceOf(m prior.Model) diffusion.Variance {
	if m.LearnedVariance() {
		return diffusion.LearnedRange
	}
	return diffusion.FixedSmall
}

// Measure makes synthetic measurements y = A x + σ_y n of images x [N,C,H,W], with
// noise drawn from the seed for each image number (nil: 0, 1, …).
func Measure(dev compute.Device, op measure.Forward, x []float32, sigmaY float64, seed uint64, images []uint64) ([]float32, error) {
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
