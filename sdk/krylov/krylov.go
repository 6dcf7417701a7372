// Package krylov applies functions of S = A Σ Aᵀ + σ_y² I, the covariance of a measurement
// y = A x0 + n under x0 ~ N(x̂0, Σ), in Krylov spaces of a few Jacobian-vector products.
// Σ = c J is the posterior covariance that belongs to the Tweedie mean x̂0 with the
// Jacobian J = ∂x̂0/∂x_t, c = σ_t²/√ᾱ_t.
//
// The spaces are those of the preconditioned Ŝ = P^(−½) S P^(−½), P = r² A Aᵀ + σ_y² I,
// r² = 1 − ᾱ_t (Golub & Van Loan, Matrix Computations, chapter 10). The package knows
// operators and denoisers: no network, no sampling method, no information term.
package krylov

import (
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Level is the noise level of the current x_t and of the measurement.
type Level struct {
	AlphaBar float64 // ᾱ_t in (0, 1)
	SigmaY   float64 // σ_y > 0, on images in [−1, 1]
}

// C returns σ_t²/√ᾱ_t, the factor between J and the posterior covariance.
func (l Level) C() float64 { return (1 - l.AlphaBar) / math.Sqrt(l.AlphaBar) }

// R2 returns r² = 1 − ᾱ_t: the variance of the isotropic covariance that preconditions.
func (l Level) R2() float64 { return 1 - l.AlphaBar }

// S2 returns σ_y².
func (l Level) S2() float64 { return l.SigmaY * l.SigmaY }

// floor returns the eigenvalue of Ŝ that a direction without any posterior variance has. A
// learned J is not positive, so an eigenvalue at or below it tells nothing and gets
// weight zero.
func (l Level) floor(op measure.Linear, image int) float64 {
	return l.S2() / (l.R2()*measure.Of(op, image).LargestEigenvalue() + l.S2())
}

// Space is the memory of Krylov spaces of n images. Its directions are valid until the
// next one is computed.
type Space struct {
	dev  compute.Device
	op   measure.Linear
	v    compute.Tensor   // [n, In] the direction
	u    compute.Tensor   // [n, Out]
	q    []compute.Tensor // [n, Out] the orthonormal basis q_1 … q_K
	coef [][]float64      // v = Σ_k coef[k]·v_k of the directions v_k of the JVPs; nil without any
}

// New allocates for n images and k ≥ 0 steps in the caller's workspace, which keeps an error.
func New(dev compute.Device, ws *compute.Workspace, op measure.Linear, n, k int) *Space {
	c, h, w := op.In()
	s := &Space{dev: dev, op: op, v: ws.New(n, c, h, w)}
	c, h, w = op.Out()
	s.u = ws.New(n, c, h, w)
	for range k {
		s.q = append(s.q, ws.New(n, c, h, w))
	}
	return s
}

// InverseRoot is v = Aᵀ P^(−½) Ŝ^(−½) z [n, In] by k JVPs: E vvᵀ = AᵀS⁻¹A for a random z
// with E zzᵀ = I. z [n, Out] is zero where nothing is measured and is overwritten; norm is
// ‖z‖ of each image. variance is vᵀΣv/vᵀv along the first JVP's direction, or r² without
// steps, where Ŝ is taken as I.
func (s *Space) InverseRoot(d prior.Denoiser, l Level, z compute.Tensor, norm []float64) (v compute.Tensor, variance []float64, err error) {
	variance = slices.Repeat([]float64{l.R2()}, z.N)
	err = s.apply(start{d, l, z, norm, true, variance, s.multiply}, func(e float64) float64 { return 1 / math.Sqrt(e) })
	return s.v, variance, err
}

// Solve is w = AᵀS⁻¹r [n, In] for r [n, Out], which is overwritten, by k ≥ 1 JVPs in the space
// that starts at P^(−½)r: conjugate gradients would break down on a learned S, which is
// neither symmetric nor positive. cache says whether [Space.Second] will be called.
func (s *Space) Solve(d prior.Denoiser, l Level, r compute.Tensor, cache bool) (w compute.Tensor, err error) {
	measure.Power(s.op, r, r, l.R2(), l.S2(), -0.5)
	norm, err := compute.Norms(s.dev, r)
	if err != nil {
		return s.v, err
	}
	return s.v, s.apply(start{d, l, r, norm, cache, nil, s.multiply}, func(e float64) float64 { return 1 / e })
}

// Second is D²x̂0[v, v] along the direction v that was computed last, at the same x_t.
func (s *Space) Second(d prior.Denoiser) (compute.Tensor, error) {
	if s.coef == nil {
		return d.Second(s.v, s.v)
	}
	return d.SecondAlong(s.v, s.coef)
}

// apply computes v = Aᵀ P^(−½) f(Ŝ) z. Eigenvalues that show no posterior variance get
// weight zero. Without steps f(Ŝ) is taken as I.
func (s *Space) apply(from start, f func(e float64) float64) error {
	l, root := from.l, from.z
	s.coef = nil
	if len(s.q) > 0 {
		ritz, err := s.arnoldi(from)
		if err != nil {
			return err
		}
		s.coef = ritz.function(func(image int, e float64) float64 {
			if e <= l.floor(s.op, image)+1e-5 { // float32's rounding, beside the largest eigenvalue of about 1
				return 0
			}
			return f(e)
		})
		s.combine(s.u, s.coef)
		root = s.u
	}
	measure.Power(s.op, from.z, root, l.R2(), l.S2(), -0.5)
	s.op.Adjoint(s.v, from.z)
	return nil
}

// combine is dst = Σ_j coef[j]·q_j.
func (s *Space) combine(dst compute.Tensor, coef [][]float64) {
	for from := 0; from < len(s.q); from += 5 { // Combine takes six at a time
		var terms []compute.Term
		if from > 0 {
			terms = append(terms, compute.Times(1, dst))
		}
		for j := from; j < min(from+5, len(s.q)); j++ {
			terms = append(terms, compute.Term{X: s.q[j], Coef: coef[j]})
		}
		s.dev.Combine(dst, terms...)
	}
}
