// Package mixture is a diffusion prior whose every derivative is known in closed
// form: a mixture of isotropic Gaussians,
//
//	p(x0) = Σ_k π_k N(x0; μ_k, σ0² I).
//
// It is what samplers are validated against. Under the forward process
// x_t = √ᾱ x0 + √(1−ᾱ) n the noised density is a mixture again,
//
//	p_t(x) = Σ_k π_k N(x; √ᾱ μ_k, v I),   v = ᾱσ0² + 1 − ᾱ,
//
// and so is the posterior of x0 given a linear measurement, which can therefore
// be sampled exactly ([Mixture.Posterior]).
//
// With θ = √ᾱ x/v, log p_t(x) is −‖x‖²/2v plus the cumulant generating function
// of μ_k at θ. Its derivatives are then the cumulants of μ_k under the
// responsibilities r_k = p(k | x_t = x): mean m, covariance C, third cumulant κ₃:
//
//	∇ log p_t       = (√ᾱ m − x)/v
//	∇² log p_t      = −I/v + (√ᾱ/v)² C
//	∇³ log p_t[a,b] = (√ᾱ/v)³ κ₃[a,b],   κ₃[a,b] = Σ_k r_k ⟨δ_k,a⟩⟨δ_k,b⟩ δ_k,   δ_k = μ_k − m
//
// All arithmetic is in float64. [Model] offers the same density as a
// [github.com/cmi-diffusion/cmi/sdk/prior.Model] on a device.
package mixture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"

	"gonum.org/v1/gonum/floats"
)

// Mixture is the prior Σ_k π_k N(μ_k, Std² I) over vectors of length n.
type Mixture struct {
	Weights []float64   // π_k ≥ 0 up to a common factor: they need not sum to one
	Means   [][]float64 // μ_k, each of length n
	Std     float64     // σ0 > 0, the same for all components and directions
}

// Dim returns the length n of the vectors described.
func (m *Mixture) Dim() int {
	if len(m.Means) == 0 {
		return 0
	}
	return len(m.Means[0])
}

// Validate reports the first reason why m is not a mixture: no components, a
// weight for each mean missing, weights that are negative or all zero, means of
// different or zero length, a Std that is not positive, or a value not finite.
func (m *Mixture) Validate() error {
	n := m.Dim()
	switch {
	case n == 0:
		return fmt.Errorf("mixture: no components, or means of length 0; want at least one mean of length 1")
	case len(m.Weights) != len(m.Means):
		return fmt.Errorf("mixture: %d weights for %d means, want one each", len(m.Weights), len(m.Means))
	case !squarable(m.Std):
		return fmt.Errorf("mixture: standard deviation %g, want 1e-100 … 1e100", m.Std)
	}
	total := 0.0
	for k, w := range m.Weights {
		if !(w >= 0) {
			return fmt.Errorf("mixture: weight %d is %g, want 0 or more", k, w)
		}
		total += w
	}
	if total == 0 || math.IsInf(total, 0) {
		return fmt.Errorf("mixture: weights sum to %g, want a positive finite sum", total)
	}
	for k, mu := range m.Means {
		if len(mu) != n {
			return fmt.Errorf("mixture: mean %d has length %d, want %d as mean 0", k, len(mu), n)
		}
		if !finite(mu) {
			return fmt.Errorf("mixture: mean %d holds a value that is not finite", k)
		}
	}
	return nil
}

// SamplePrior draws count independent vectors x0. rng must not be nil.
func (m *Mixture) SamplePrior(count int, rng *rand.Rand) ([][]float64, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return draw(m.Weights, m.Means, count, rng, func(dst, z []float64) {
		floats.AddScaled(dst, m.Std, z)
	}), nil
}

// draw picks a component in proportion to its weight, copies its mean and lets
// spread add noise made from z ~ N(0, I).
func draw(weights []float64, means [][]float64, count int, rng *rand.Rand, spread func(dst, z []float64)) [][]float64 {
	count = max(count, 0)
	n := len(means[0])
	cumulative := floats.CumSum(make([]float64, len(weights)), weights)
	total := cumulative[len(cumulative)-1]
	flat, z := make([]float64, count*n), make([]float64, n)
	out := make([][]float64, count)
	for i := range out {
		u := rng.Float64() * total // in [0, total): the first bin that exceeds it is never empty
		k := sort.Search(len(cumulative)-1, func(k int) bool { return cumulative[k] > u })
		out[i] = flat[i*n : (i+1)*n : (i+1)*n]
		copy(out[i], means[k])
		fillNormal(z, rng)
		spread(out[i], z)
	}
	return out
}

func fillNormal(dst []float64, rng *rand.Rand) {
	for i := range dst {
		dst[i] = rng.NormFloat64()
	}
}

// squarable says whether s is a standard deviation whose square has a reciprocal.
func squarable(s float64) bool { return s >= 1e-100 && s <= 1e100 }

func finite(x []float64) bool {
	for _, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
