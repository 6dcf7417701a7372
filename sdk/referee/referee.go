// Package referee judges sampling methods where the truth is known: on random
// Gaussian mixtures the score, its derivatives and the posterior are exact, so
// generated samples can be compared with true posterior samples.
package referee

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// Setting is a family of random problems: a mixture of Components Gaussians with
// standard deviation 0.1 in Dim dimensions, measured by Rows random rows, noise
// σ_y = 0.1. One true point each.
type Setting struct {
	Problems, Samples     int
	Components, Dim, Rows int
	Orthonormal           bool
	Seed                  uint64
}

// Arm is a method to judge, with or without the information term.
type Arm struct {
	Name   string
	Method guide.Method
	CMI    *cmi.Options
	// Particles is [sdk.Options].Particles: each sample is one of so many, of its own.
	Particles int
	// DDIM is [sdk.Options].DDIM; nil is DDPM's chain.
	DDIM *float64
	// Exact draws the samples from the posterior itself: what a perfect sampler would get. The method is not taken.
	Exact bool
}

// Verdict is an arm's result: one value for each problem.
type Verdict struct {
	Arm
	// Distance is the sliced Wasserstein distance between generated and exact
	// posterior samples: the mean over 200 directions.
	Distance []float64
	// SquaredError is the mean over samples and coordinates of the squared error
	// against the true point.
	SquaredError []float64
	// ESS is the effective sample size of the particles in the last step, the mean over the samples, and
	// LogEvidence the logarithm of the mean of the samples' estimates of p(y), less log p(y); nil without particles.
	ESS, LogEvidence []float64
}

// Schedule returns the β and the schedule of the judgement: 200 steps, β linear from 5e-4 to 0.1.
func Schedule() (betas []float64, s *diffusion.Schedule, err error) {
	if betas, err = diffusion.LinearBetas(200, 5e-4, 0.1); err != nil {
		return nil, nil, err
	}
	s, err = diffusion.New(betas, len(betas))
	return betas, s, err
}

// Judge runs every arm on the same problems with the same random numbers. The
// sampler is DDPM with variance β̃ on [Schedule], x̂0 never clipped. done, if not nil, is called after each run.
func Judge(ctx context.Context, dev compute.Device, s Setting, arms []Arm, done func(arm, problem int)) ([]Verdict, error) {
	betas, schedule, err := Schedule()
	if err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, len(arms))
	for a := range arms {
		verdicts[a].Arm = arms[a]
	}
	for i := range s.Problems {
		seed := s.Seed + uint64(i)
		p, err := mixture.NewProblem(mixture.ProblemConfig{Components: s.Components, Dim: s.Dim, Rows: s.Rows, Orthonormal: s.Orthonormal, Seed: seed})
		if err != nil {
			return nil, err
		}
		posterior, err := p.Posterior()
		if err != nil {
			return nil, err
		}
		exact := posterior.Sample(s.Samples, rand.New(rand.NewPCG(seed, 1)))
		for a, arm := range arms {
			samples, last, err := sample(ctx, dev, p, betas, schedule, arm, s.Samples, seed)
			if err != nil {
				return nil, fmt.Errorf("%s, problem %d: %w", arm.Name, i+1, err)
			}
			if arm.Particles > 0 {
				verdicts[a].ESS = append(verdicts[a].ESS, Mean(last.ESS))
				estimate := floats.LogSumExp(last.LogEvidence) - math.Log(float64(s.Samples))
				verdicts[a].LogEvidence = append(verdicts[a].LogEvidence, estimate-posterior.LogEvidence)
			}
			distance, err := mixture.SlicedWasserstein(samples, exact, 200, rand.New(rand.NewPCG(seed, 2)))
			if err != nil {
				return nil, err
			}
			verdicts[a].Distance = append(verdicts[a].Distance, distance)
			verdicts[a].SquaredError = append(verdicts[a].SquaredError, squaredError(samples, p.Truth))
			if done != nil {
				done(a, i)
			}
		}
	}
	return verdicts, nil
}

// sample draws posterior samples of one problem through the product's solver, and returns its last report.
func sample(ctx context.Context, dev compute.Device, p *mixture.Problem, betas []float64, schedule *diffusion.Schedule, arm Arm, n int, seed uint64) (out [][]float64, last sdk.Progress, err error) {
	if arm.Exact {
		posterior, err := p.Posterior()
		if err != nil {
			return nil, last, err
		}
		return posterior.Sample(n, rand.New(rand.NewPCG(seed, 3))), last, nil
	}
	model, err := mixture.NewModel(p.Prior, diffusion.AlphaBars(betas), dev)
	if err != nil {
		return nil, last, err
	}
	defer model.Close()
	op, err := measure.NewDense(dev, p.A)
	if err != nil {
		return nil, last, err
	}
	defer op.Close()
	y := make([]float32, 0, n*len(p.Y))
	for range n {
		for _, v := range p.Y {
			y = append(y, float32(v))
		}
	}
	x, err := sdk.Restore(ctx, sdk.Problem{Prior: model, Operator: op, Y: y, N: n, SigmaY: p.SigmaY},
		sdk.Options{Method: arm.Method, CMI: arm.CMI, Schedule: schedule, Variance: diffusion.FixedSmall, NoClip: true, Seed: seed,
			Particles: arm.Particles, DDIM: arm.DDIM, OnStep: func(p sdk.Progress) { last = p }})
	if err != nil {
		return nil, last, err
	}
	dim := len(p.Truth)
	out = make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, dim)
		for k := range dim {
			out[i][k] = float64(x[i*dim+k])
		}
	}
	return out, last, nil
}

func squaredError(samples [][]float64, truth []float64) float64 {
	sum := 0.0
	for _, s := range samples {
		for k, v := range s {
			sum += (v - truth[k]) * (v - truth[k])
		}
	}
	return sum / float64(len(samples)*len(truth))
}

// Mean of values.
func Mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}
