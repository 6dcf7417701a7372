package cmi

import (
	"fmt"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// space solves with S = A Σ Aᵀ + σ_y² I, Σ = c J, by its preconditioned form
// Ŝ = P^(−½) S P^(−½), P = r² A Aᵀ + σ_y² I, in Krylov spaces of a few steps.
type space struct {
	dev  compute.Device
	op   Operator
	v    compute.Tensor   // [n, In]
	z    compute.Tensor   // [n, Out]
	u    compute.Tensor   // [n, Out]
	q    []compute.Tensor // basis
	kept bool             // the JVPs' directions are, where the denoiser can, for second
	mix  [][]float64      // v = Σ_k mix[k]·v_k of the directions v_k of the JVPs; nil without any
}

// newSpace allocates for n images and k steps; the workspace keeps an error.
func newSpace(dev compute.Device, ws *compute.Workspace, op Operator, n, k int, kept bool) space {
	s := space{dev: dev, op: op, kept: kept}
	c, h, w := op.In()
	s.v = ws.New(n, c, h, w)
	c, h, w = op.Out()
	s.z, s.u = ws.New(n, c, h, w), ws.New(n, c, h, w)
	for range k {
		s.q = append(s.q, ws.New(n, c, h, w))
	}
	return s
}

// function computes v = Aᵀ P^(−½) f(Ŝ) z. Eigenvalues that show no posterior
// variance get weight zero. Without steps f(Ŝ) is taken as f(1), the isotropic
// covariance. variance, unless nil, receives what the first JVP finds, see whitened.
func (s *space) function(d Denoiser, l Level, f func(e float64) float64, variance []float64) error {
	root := s.z
	s.mix = nil
	if len(s.q) > 0 {
		krylov, err := arnoldi(s.dev, s.q, s.z, func(dst, q compute.Tensor) error { return s.whitened(dst, q, d, l, variance) })
		if err != nil {
			return err
		}
		s.mix = krylov.function(func(image int, e float64) float64 {
			if e <= l.floor(s.op, image)+1e-5 { // float32's rounding, beside the largest eigenvalue of about 1
				return 0
			}
			return f(e)
		})
		krylov.combine(s.dev, s.u, s.mix)
		root = s.u
	}
	s.op.Power(s.z, root, l.R2(), l.sigmaY2(), -0.5)
	s.op.Adjoint(s.v, s.z)
	return nil
}

// whitened is dst = Ŝ q. For the basis' first vector it also measures the posterior
// variance vᵀΣv/vᵀv along v = Aᵀ P^(−½) q.
func (s *space) whitened(dst, q compute.Tensor, d Denoiser, l Level, variance []float64) error {
	s.op.Power(s.u, q, l.R2(), l.sigmaY2(), -0.5)
	s.op.Adjoint(s.v, s.u)
	jv, err := s.jvp(d, q)
	if err != nil {
		return err
	}
	if q == s.q[0] && variance != nil {
		vJv, err := compute.Dot(s.dev, s.v, jv)
		if err != nil {
			return err
		}
		vv, err := compute.Dot(s.dev, s.v, s.v)
		if err != nil {
			return err
		}
		for i := range variance {
			variance[i] = 0
			if vJv[i] > 0 && vv[i] > 0 {
				variance[i] = l.C() * vJv[i] / vv[i]
			}
		}
	}
	s.op.Apply(dst, jv)
	s.dev.Combine(dst, compute.Times(l.C(), dst), compute.Times(l.sigmaY2(), s.u))
	s.op.Power(dst, dst, l.R2(), l.sigmaY2(), -0.5)
	return nil
}

// jvp is J v of the direction v that basis vector q stands for.
func (s *space) jvp(d Denoiser, q compute.Tensor) (compute.Tensor, error) {
	if keeps, ok := keeper(d); ok && s.kept {
		return keeps.JVPKept(slices.Index(s.q, q), s.v)
	}
	return d.JVP(s.v)
}

// second is D²x̂0[v, v] along the v that function found at this point.
func (s *space) second(d Denoiser) (compute.Tensor, error) {
	if keeps, ok := keeper(d); ok && s.kept && s.mix != nil {
		return keeps.SecondOfKept(s.mix)
	}
	return d.Second(s.v, s.v)
}

// SecondPasses is what the second derivative along such a v costs after k Krylov
// steps, in forwards.
func SecondPasses(k int) int {
	if k > 0 {
		return 1
	}
	return 2
}

// Solve finds w = AᵀS⁻¹r, the direction of the Gaussian evidence's gradient.
type Solve struct{ space }

// NewSolve allocates for n images and k ≥ 1 Krylov steps in the caller's workspace.
// jets says whether [Solve.Second] will be called: a [Keeper] then keeps k directions.
func NewSolve(dev compute.Device, ws *compute.Workspace, op Operator, n, k int, jets bool) (*Solve, error) {
	if k < 1 || k > 1000 {
		return nil, fmt.Errorf("%d Krylov steps, 1 to 1000 are possible", k)
	}
	s := &Solve{newSpace(dev, ws, op, n, k, jets)}
	return s, ws.Err()
}

// Innovation is w = AᵀS⁻¹r for a residual r [n, Out], by the Krylov space started
// at P^(−½) r: conjugate gradients would break down on a learned S, which is
// neither symmetric nor positive. The result is valid until the next call.
func (s *Solve) Innovation(d Denoiser, l Level, r compute.Tensor) (compute.Tensor, error) {
	s.op.Power(s.z, r, l.R2(), l.sigmaY2(), -0.5)
	err := s.function(d, l, func(e float64) float64 { return 1 / e }, nil)
	return s.v, err
}

// Second is D²x̂0[w, w] along the w that [Solve.Innovation] found at this point.
func (s *Solve) Second(d Denoiser) (compute.Tensor, error) { return s.second(d) }
