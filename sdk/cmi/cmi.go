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
// for any random direction v with E[v vᵀ] = AᵀS⁻¹A. The package draws such
// directions from Rademacher probes with a few Lanczos steps, each one
// Jacobian-vector product; the second derivative along v is one second-order jet.
// It knows no network and no sampling method.
package cmi

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Denoiser is the Tweedie mean x̂0 = (x_t − σ_t ε)/√ᾱ_t, not clipped, at the
// current x_t of N images, with its directional derivatives. Directions hold D·N
// images, image i at point i mod N. Results are valid until the next call of the
// same method.
type Denoiser interface {
	// JVP is J v.
	JVP(v compute.Tensor) (compute.Tensor, error)
	// Second is D²x̂0[v, w]; cheaper where v and w are the same tensor.
	Second(v, w compute.Tensor) (compute.Tensor, error)
}

// Keeper is a [Denoiser] that keeps the directions of its JVPs, so that the second
// derivative along a combination of them is one network pass instead of two.
type Keeper interface {
	Denoiser
	// JVPKept is J v of one direction an image, kept as number k = 0, 1, …
	JVPKept(k int, v compute.Tensor) (compute.Tensor, error)
	// SecondOfKept is D²x̂0[v, v], v = Σ_k coef[k]·v_k; coef[k] has a factor for each
	// image.
	SecondOfKept(coef [][]float64) (compute.Tensor, error)
	// Keeps says whether it can.
	Keeps() bool
}

func keeper(d Denoiser) (Keeper, bool) {
	k, ok := d.(Keeper)
	return k, ok && k.Keeps()
}

// Operator is what the term needs of a measurement operator A; every linear
// operator of package measure has it. Rows of A that are zero are not measured:
// Power is zero there.
type Operator interface {
	In() (c, h, w int)
	Out() (c, h, w int)
	Apply(dst, x compute.Tensor)
	Adjoint(dst, y compute.Tensor)
	// Power is (r² A Aᵀ + s² I)^p z on the measured coordinates.
	Power(dst, z compute.Tensor, r2, s2, p float64)
	// LogDet is log det(r² A Aᵀ + s² I) on the measured coordinates.
	LogDet(r2, s2 float64) float64
	// LargestEigenvalue is λ_max(A Aᵀ).
	LargestEigenvalue() float64
}

// perImage is an operator that differs from image to image.
type perImage interface {
	LogDetOf(image int, r2, s2 float64) float64
	LargestEigenvalueOf(image int) float64
}

func logDet(op Operator, image int, r2, s2 float64) float64 {
	if p, ok := op.(perImage); ok {
		return p.LogDetOf(image, r2, s2)
	}
	return op.LogDet(r2, s2)
}

func largestEigenvalue(op Operator, image int) float64 {
	if p, ok := op.(perImage); ok {
		return p.LargestEigenvalueOf(image)
	}
	return op.LargestEigenvalue()
}

// Level is the noise level of the current x_t and of the measurement.
type Level struct {
	AlphaBar float64 // ᾱ_t in (0, 1)
	SigmaY   float64 // σ_y > 0, on images in [−1, 1]
}

// C is σ_t²/√ᾱ_t, the factor between J and the posterior covariance.
func (l Level) C() float64 { return (1 - l.AlphaBar) / math.Sqrt(l.AlphaBar) }

// R2 is 1 − ᾱ_t: the variance of the isotropic covariance r² I that
// preconditions the solver.
func (l Level) R2() float64 { return 1 - l.AlphaBar }

func (l Level) sigmaY2() float64 { return l.SigmaY * l.SigmaY }

// floor is the eigenvalue of the preconditioned Ŝ that a direction without any
// posterior variance has. A learned J is not positive, so an eigenvalue at or
// below it tells nothing and gets weight zero.
func (l Level) floor(op Operator, image int) float64 {
	return l.sigmaY2() / (l.R2()*largestEigenvalue(op, image) + l.sigmaY2())
}

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
	// TrustStd limits ‖w_t ∇I‖ to this multiple of the norm of the reverse step's
	// standard deviation over the image; 0 is no limit.
	TrustStd float64
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

// The estimators. All but Probe form dense matrices, for small problems.
const (
	Probe        Estimator = "probe"         // ½c D²x̂0[v,v], v = AᵀS^(−½)z by Lanczos
	Trace        Estimator = "trace"         // ½c Σ_i D²x̂0[v_i,v_i] over an eigenbasis: no randomness
	TwoDirection Estimator = "two-direction" // ½c D²x̂0[AᵀS⁻¹z, Aᵀz]
	TwoTrace     Estimator = "two-trace"     // the paper's Tr(Σ1⁻¹∇Σ1) − Tr(Σ2⁻¹∇Σ2), a probe each
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

// Radius is the largest ‖w_t ∇I‖ allowed for an image, from the norms of the
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
