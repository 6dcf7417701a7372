package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// DDRM estimates the posterior mean by the denoising diffusion restoration model (Kawar et al.
// 2022, arXiv 2201.11793), which matches the noise of the measurement to that of the diffusion: at
// a noise level ρ = σ_t/√ᾱ_t it draws z, of the image's scale, for each singular value s of A from the
// estimate x̂0 and from y, seen as ȳ = y/s,
//
//	s < σ_y/ρ   z = x̂0 + u (ȳ − x̂0) + ρ √(1−u) ξ,  u = ρ² s²/σ_y²
//	else        z = ȳ + √(ρ² − σ_y²/s²) ξ
//
// and denoises it, x̂0 = E[x | z]. That is DDRM with η_b = 1 and η = √(1−u) in place of one η
// for all: where ρ ≤ σ_y/s_max, z is a draw of p(z | x, y) with z = x + ρ ξ and
// y = A z + N(0, σ_y² I − ρ² A Aᵀ), and drawing z and x in turn is Gibbs sampling of the exact posterior.
//
// The levels fall in equal ratios, from Top or that of the run's start, to that of the training step nearest to σ_y/s_max of
// each image, and the last third of the steps stays there. The result is the mean of x̂0 over those, an estimate of
// E[x | y]. For A = I, z is y there, and the result E[x | y] itself up to the network.
//
// Where the singular values are not known ([measure.Exact]), z is a draw of
// N(y; A z, σ_y² I) N(z; x̂0, ρ² I), as in [Gibbs], which counts the noise of the measurement as
// σ_y² I + ρ² A Aᵀ.
//
// It takes one pass a step and none at the last. Where the run starts at a level below Top, its first step takes another, for
// x̂0 of x_T; above Top, x_T tells too little of the image, and x̂0 = 0 serves. Its state is the image x̂0, so that
// the information term has no place in it.
type DDRM struct {
	Top float64 // the highest level after the first step, some times the images' own spread; 0 is that of the run's start
}

// Name implements [Method].
func (m DDRM) Name() string { return "ddrm-mean" }

// Cost implements [Method].
func (m DDRM) Cost(s *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Linear: true, Image: index < s.Len()-1 || m.startsAbove(s), Values: min(index, 1)}
}

// startsAbove says whether the run starts at a noise level above all that are drawn at.
func (m DDRM) startsAbove(s *diffusion.Schedule) bool {
	return m.Top > 0 && s.Len() > 1 && relativeNoise(s, s.Len()-1) > m.Top
}

// Validate implements [Validator].
func (m DDRM) Validate(ddim *float64) error { return ownStep(m, ddim) }

// Carries implements [Carrier]: the mean of x̂0 at the last level.
func (m DDRM) Carries() int { return 1 }

// Step implements [Method].
func (m DDRM) Step(s *Step) error {
	d, x, estimate := s.Device, s.Tensor("noisy image", s.X), s.X
	if err := s.Work.Err(); err != nil {
		return err
	}
	switch first := s.Index == s.Schedule.Len()-1; {
	case first && m.startsAbove(s.Schedule):
		estimate = s.Tensor("grey", s.X)
		if err := s.Work.Err(); err != nil {
			return err
		}
		d.Combine(estimate, compute.Times(0, s.X))
	case first:
		estimate = s.Clipped
	}
	mean, before := s.NextCarried[0], s.Carried[0]
	if s.Index == 0 {
		if s.Schedule.Len() > 1 {
			estimate = before
		}
		d.Combine(s.Next, compute.Times(1, estimate))
		d.Combine(mean, compute.Times(1, before))
		return s.report()
	}
	timesteps := make([]int, s.X.N)
	image, rho := make([]float64, s.X.N), make([]float64, s.X.N) // √ᾱ, ρ
	for n := range timesteps {
		timesteps[n] = m.timestep(s, measure.Of(s.A, n))
		ab := s.Schedule.TrainingAlphaBar(timesteps[n])
		image[n], rho[n] = math.Sqrt(ab), math.Sqrt((1-ab)/ab)
	}
	if err := m.draw(s, x, estimate, rho); err != nil {
		return err
	}
	d.Combine(x, compute.Term{X: x, Coef: image})
	if err := s.EvaluateAt(s.Next, x, timesteps); err != nil {
		return err
	}
	if s.Clips {
		d.Map(s.Next, compute.Clamp(-1, 1), s.Next)
	}
	share := 0.0 // of this step in the mean
	if there := m.last(s.Schedule) - s.Index + 1; there > 0 {
		share = 1 / float64(there)
	}
	d.Combine(mean, compute.Times(1-share, before), compute.Times(share, s.Next))
	return s.report()
}

// last returns the number of steps at the last level.
func (m DDRM) last(s *diffusion.Schedule) int { return max(1, (s.Len()-1)/3) }

// timestep returns the training step of the level of the step's index for an image of that operator.
func (m DDRM) timestep(s *Step, a measure.Linear) int {
	steps, last := s.Schedule.Len()-1, m.last(s.Schedule)
	fall := max(0, float64(s.Index-last)/float64(max(1, steps-last))) // 1 at the first level, 0 at the last
	top := relativeNoise(s.Schedule, steps)
	if m.Top > 0 {
		top = min(top, m.Top)
	}
	end := min(top, s.SigmaY/math.Sqrt(a.LargestEigenvalue()))
	return s.Schedule.Nearest(end * math.Pow(top/end, fall))
}

// draw writes to z the noisy image of each level ρ, from the estimate x0.
func (m DDRM) draw(s *Step, z, x0 compute.Tensor, rho []float64) error {
	d, xi, gain := s.Device, s.Tensor("image noise", s.X), s.Tensor("gain", s.X)
	residual, seen, zeta := s.Tensor("residual", s.Y), s.Tensor("seen noise", s.Y), s.Tensor("measurement noise", s.Y)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.normal(xi, imageNoise)
	s.A.Apply(residual, x0)
	d.Combine(residual, compute.Times(1, s.Y), compute.Times(-1, residual))
	s.A.Apply(seen, xi)
	if !measure.Exact(s.A) {
		s.normal(zeta, measurementNoise)
	}
	at := 1 // images at a time
	if measure.Of(s.A, 0) == s.A {
		at = z.N
	}
	for n := 0; n < z.N; n += at {
		a, r := measure.Of(s.A, n), rho[n]
		res, own, lift := residual.Images(n, n+at), seen.Images(n, n+at), gain.Images(n, n+at)
		if exact, ok := a.(measure.Spectral); ok {
			hidden := s.SigmaY * s.SigmaY / (r * r) // s² where y's noise is the level's
			exact.Function(res, res, func(e float64) float64 { return 1 / max(e, hidden) })
			exact.Function(own, own, func(e float64) float64 { // (1 − √(1−v))/e, v = min(u, 1/u)
				v, slope := e/hidden, 1/hidden
				if e > hidden {
					v, slope = hidden/e, hidden/(e*e)
				}
				return slope / (1 + math.Sqrt(1-v))
			})
			d.Combine(res, compute.Times(1, res), compute.Times(-r, own))
			a.Adjoint(lift, res)
		} else {
			d.Combine(res, compute.Times(1, res), compute.Times(s.SigmaY, zeta.Images(n, n+at)), compute.Times(-r, own))
			one := Step{Device: d, Work: s.Work, A: a}
			if err := one.solve(lift, res, r*r, s.SigmaY*s.SigmaY, 1e-4); err != nil {
				return err
			}
			d.Combine(lift, compute.Times(r*r, lift))
		}
	}
	d.Combine(z, compute.Times(1, x0), compute.Term{X: xi, Coef: rho}, compute.Times(1, gain))
	return nil
}
