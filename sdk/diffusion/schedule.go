// Package diffusion holds the arithmetic of variance-preserving diffusion on the
// host, in float64: noise schedules, respacing, the coefficients of DDPM and
// DDIM steps, and the counter-based random numbers that make a run repeatable.
//
// It gives numbers, not arrays: a sampler applies the coefficients on whatever
// device its images live.
package diffusion

import (
	"fmt"
	"math"
)

// Schedule is a noise schedule respaced to N of its T training steps. Its steps
// are indexed from 0, the least noise, to N−1; sampling runs downwards. Step i
// leads from x_t at t = Timestep(i) to the next lower kept timestep, and step 0
// to the clean image. Indices outside [0, N) panic as a slice does.
type Schedule struct {
	timesteps []int
	training  []float64 // ᾱ of every training step
	beta      []float64
	alphaBar  []float64
	variance  []float64 // β̃
	logVar    []float64 // log β̃, entry 0 taken from entry 1
	trained   []step    // of training
}

// step is a step of a schedule.
type step struct{ beta, alphaBarPrev, variance, logVar float64 }

// New keeps n of the len(betas) training steps, 1 ≤ n ≤ len(betas), as
// guided-diffusion does: n times the nearest integer (half to even) of an
// accumulated stride (T−1)/(n−1). The kept steps' β is 1 − ᾱ_i/ᾱ_(i−1). One step
// alone keeps timestep 0.
func New(betas []float64, n int) (*Schedule, error) {
	switch {
	case len(betas) == 0:
		return nil, fmt.Errorf("a schedule of no training steps, at least 1 is wanted")
	case n < 1 || n > len(betas):
		return nil, fmt.Errorf("%d sampling steps of a schedule of %d training steps, 1 to %d are possible", n, len(betas), len(betas))
	}
	if err := checkBetas(betas); err != nil {
		return nil, err
	}
	all := AlphaBars(betas)
	at := func(t int) step { // of training
		if t == 0 {
			return step{beta: betas[0], alphaBarPrev: 1}
		}
		variance := betas[t] * (1 - all[t-1]) / (1 - all[t])
		return step{betas[t], all[t-1], variance, math.Log(variance)}
	}
	s := &Schedule{timesteps: respace(len(betas), n), training: all}
	kept := 1.0
	for _, t := range s.timesteps {
		s.beta = append(s.beta, 1-all[t]/kept)
		kept = all[t]
		one := at(t)
		if t == 0 && len(betas) > 1 {
			one.logVar = at(1).logVar
		}
		s.trained = append(s.trained, one)
	}
	s.alphaBar = AlphaBars(s.beta) // all[t] but for rounding, which the reference has too
	for i, beta := range s.beta {
		s.variance = append(s.variance, beta*(1-s.AlphaBarPrev(i))/(1-s.alphaBar[i]))
	}
	for i := range s.variance {
		s.logVar = append(s.logVar, math.Log(s.variance[min(max(i, 1), n-1)]))
	}
	if n == 1 { // there is no entry 1 to take
		s.logVar[0] = math.Log(s.beta[0])
	}
	return s, nil
}

// respace lists the n kept timesteps. The stride is accumulated rather than
// multiplied: the two round differently for many n.
func respace(steps, n int) []int {
	kept := make([]int, n)
	stride := float64(steps-1) / float64(max(n-1, 1))
	at := 0.0
	for i := range kept {
		kept[i] = int(math.RoundToEven(at))
		at += stride
	}
	return kept
}

// Len returns the number N of sampling steps.
func (s *Schedule) Len() int { return len(s.beta) }

// Timestep returns the training timestep t that the network sees at step i.
func (s *Schedule) Timestep(i int) int { return s.timesteps[i] }

// TrainingAlphaBar is ᾱ_t of training step t, kept or not.
func (s *Schedule) TrainingAlphaBar(t int) float64 { return s.training[t] }

// Nearest returns the training step whose noise level √(1−ᾱ_t)/√ᾱ_t has the ratio to noise that is
// nearest to 1, noise > 0.
func (s *Schedule) Nearest(noise float64) (t int) {
	best := math.Inf(1)
	for i, ab := range s.training {
		if off := math.Abs(math.Log((1-ab)/ab) - 2*math.Log(noise)); off < best {
			best, t = off, i
		}
	}
	return t
}

// Beta is β of the respaced schedule.
func (s *Schedule) Beta(i int) float64 { return s.beta[i] }

// AlphaBar is ᾱ_t: x_t = √ᾱ_t x0 + √(1−ᾱ_t) n.
func (s *Schedule) AlphaBar(i int) float64 { return s.alphaBar[i] }

// AlphaBarPrev is ᾱ of where step i leads: AlphaBar(i−1), and 1 at i = 0.
func (s *Schedule) AlphaBarPrev(i int) float64 {
	if i == 0 {
		return 1
	}
	return s.alphaBar[i-1]
}

// PosteriorVariance is β̃ = β(1−ᾱ_prev)/(1−ᾱ), the variance of
// q(x_prev | x_t, x0); 0 at i = 0.
func (s *Schedule) PosteriorVariance(i int) float64 { return s.variance[i] }

// PosteriorLogVariance returns log β̃, entry 0 taken from entry 1 so that it is finite
// (from β where there is one step only).
func (s *Schedule) PosteriorLogVariance(i int) float64 { return s.logVar[i] }

// CoefX0 is c1 = β√ᾱ_prev/(1−ᾱ) of the posterior mean c1·x0 + c2·x_t (Ho et al.
// 2020, eq. 7).
func (s *Schedule) CoefX0(i int) float64 {
	return s.beta[i] * math.Sqrt(s.AlphaBarPrev(i)) / (1 - s.alphaBar[i])
}

// CoefXt is c2 = (1−ᾱ_prev)√(1−β)/(1−ᾱ) of the posterior mean.
func (s *Schedule) CoefXt(i int) float64 {
	return (1 - s.AlphaBarPrev(i)) * math.Sqrt(1-s.beta[i]) / (1 - s.alphaBar[i])
}
