// Package cmi estimates the gradient of the conditional mutual information
// I(x0; y | x_t) between the clean image and a linear measurement y = A x0 + n,
// n ~ N(0, σ_y² I), given the noisy image x_t (arXiv 2501.02880).
//
// With x̂0 the Tweedie mean, J = ∂x̂0/∂x_t and Σ = Cov[x0|x_t] = c J,
// c = σ_t²/√ᾱ_t, the information and its gradient are
//
//	 I = ½ log det(I + A Σ Aᵀ/σ_y²)                              (eq. 6)
//	∇I = ½ Tr[AᵀS⁻¹A ∇Σ] = ½ c E D²x̂0[v, v],  S = A Σ Aᵀ + σ_y² I  (eqs. 13, 14)
//
// for any random direction v with E[v vᵀ] = AᵀS⁻¹A. The package makes such directions
// from Rademacher probes in Krylov spaces (package krylov) of a few Jacobian-vector
// products; the second derivative along v is one second-order jet. It knows no network
// and no sampling method. Package dense holds the estimators for small problems.
package cmi

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
)

// Options of the information term. The zero value is not useful; start from
// [Defaults].
type Options struct {
	// Eta is the weight η; the sampled density is tilted by exp(η I). May be negative.
	Eta float64
	// Weighting says how η becomes a step's weight.
	Weighting Weighting
	// Estimator of ∇I: Probe unless for comparison.
	Estimator Estimator
	// Probes is the number of Rademacher probes averaged, 1 to 10000.
	Probes int
	// Lanczos is the number K of Lanczos steps, 0 to 1000, each a network pass; 0 takes the
	// isotropic covariance.
	Lanczos int
	// MinAlphaBar and MaxAlphaBar bound the noise levels where the term acts.
	MinAlphaBar, MaxAlphaBar float64
	// First and Last bound the sampling steps, counted from 1 at pure noise, where
	// the term acts; 0 is no bound. Every k-th of them acts.
	First, Last, Every int
	// TrustStd limits ‖w_t ∇I‖ to this multiple of the norm, over the image, of the reverse
	// step's standard deviation: DDPM's or, under DDIM, its σ, which needs η > 0. In the
	// last step, which adds no noise, it is that of the step before. 0 is no limit.
	TrustStd float64
	// TrustAncestral takes DDPM's standard deviation for TrustStd under DDIM, too.
	TrustAncestral bool
	// TrustGuidance limits ‖w_t ∇I‖ to this multiple of the norm of the method's own
	// data guidance in this step; 0 is no limit.
	TrustGuidance float64
}

// Weighting says how η becomes the weight w_t of ∇I in a step.
type Weighting string

// The weightings. Beta is independent of the number of steps; Constant is the
// paper's extra line.
const (
	Beta     Weighting = "beta"     // w_t = η β_t, β_t of the respaced schedule
	Constant Weighting = "constant" // w_t = η
)

// Estimator names a way to estimate ∇I.
type Estimator string

// The estimators. All but Probe form matrices, for small problems: see package dense.
const (
	Probe        Estimator = "probe"            // ½c D²x̂0[v,v], v = AᵀS^(−½)z by Lanczos
	Trace        Estimator = dense.Trace        // ½c Σ_i D²x̂0[v_i,v_i] over an eigenbasis: no randomness
	TwoDirection Estimator = dense.TwoDirection // ½c D²x̂0[AᵀS⁻¹z, Aᵀz]
	TwoTrace     Estimator = dense.TwoTrace     // the paper's Tr(Σ1⁻¹∇Σ1) − Tr(Σ2⁻¹∇Σ2), a probe each
)

// Validate says what is out of range.
func (o Options) Validate() error {
	switch {
	case math.IsNaN(o.Eta) || math.IsInf(o.Eta, 0):
		return fmt.Errorf("the information weight eta is %v, a finite number is wanted", o.Eta)
	case o.Weighting != Beta && o.Weighting != Constant:
		return fmt.Errorf("unknown weighting %q: beta or constant", o.Weighting)
	case o.Estimator != Probe && o.Estimator != Trace && o.Estimator != TwoDirection && o.Estimator != TwoTrace:
		return fmt.Errorf("unknown estimator %q: probe, trace, two-direction or two-trace", o.Estimator)
	case o.Probes < 1 || o.Probes > 10000:
		return fmt.Errorf("%d probes, 1 to 10000 are possible", o.Probes)
	case o.Lanczos < 0 || o.Lanczos > 1000:
		return fmt.Errorf("%d Lanczos steps, 0 to 1000 are possible", o.Lanczos)
	case !(o.MinAlphaBar >= 0 && o.MinAlphaBar < o.MaxAlphaBar && o.MaxAlphaBar <= 1):
		return fmt.Errorf("the window of alpha-bar is %v to %v, 0 ≤ from < to ≤ 1 is wanted", o.MinAlphaBar, o.MaxAlphaBar)
	case o.First < 0 || o.Last < 0 || o.Last > 0 && o.Last < o.First || o.Every < 1:
		return fmt.Errorf("the term acts from step %d to %d, every %d: 0 ≤ first ≤ last and every ≥ 1 are wanted", o.First, o.Last, o.Every)
	case !(o.TrustStd >= 0) || !(o.TrustGuidance >= 0):
		return fmt.Errorf("the trust radii are %v and %v, numbers ≥ 0 are wanted", o.TrustStd, o.TrustGuidance)
	}
	return nil
}

// Active says whether the term acts in a step, the first being 1, at a noise level.
func (o Options) Active(step int, alphaBar float64) bool {
	return alphaBar >= o.MinAlphaBar && alphaBar <= o.MaxAlphaBar &&
		step >= o.First && (o.Last == 0 || step <= o.Last) && (step-max(o.First, 1))%o.Every == 0
}

// Weight is w_t for a step with variance β_t.
func (o Options) Weight(beta float64) float64 {
	if o.Weighting == Constant {
		return o.Eta
	}
	return o.Eta * beta
}

// Radius returns the largest ‖w_t ∇I‖ allowed for an image, from the norms of the
// step's standard deviation and of its data guidance: +Inf where nothing limits.
func (o Options) Radius(std, guidance float64) float64 {
	r := math.Inf(1)
	if o.TrustStd > 0 {
		r = o.TrustStd * std
	}
	if o.TrustGuidance > 0 {
		r = min(r, o.TrustGuidance*guidance)
	}
	return r
}

// Defaults are chosen so that the term does no harm on held-out faces; see
// docs/defaults.md for the measurements and the command that repeats them.
func Defaults() Options {
	return Options{
		Eta: -1, Weighting: Beta, Estimator: Probe, Probes: 1, Lanczos: 2,
		MinAlphaBar: 0.03, MaxAlphaBar: 1, Every: 1, TrustGuidance: 0.25,
	}
}
