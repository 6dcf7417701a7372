package krylov

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Images is the memory of Krylov spaces of Σ = c J itself, in image space, and of solutions
// with S by conjugate gradients.
type Images struct {
	basis              Space // of images
	op                 measure.Linear
	sum, v             compute.Tensor // [n, In]
	direction, product compute.Tensor // [n, Out]
}

// NewImages allocates for n images and spaces of up to k ≥ 0 steps in the caller's workspace,
// which keeps an error.
func NewImages(dev compute.Device, ws *compute.Workspace, op measure.Linear, n, k int) *Images {
	c, h, w := op.In()
	s := NewRoots(dev, ws, n, c, h, w, k)
	s.op, s.v = op, ws.New(n, c, h, w)
	c, h, w = op.Out()
	s.direction, s.product = ws.New(n, c, h, w), ws.New(n, c, h, w)
	return s
}

// NewRoots allocates for [Images.Root] alone, of n images of c×h×w, likewise.
func NewRoots(dev compute.Device, ws *compute.Workspace, n, c, h, w, k int) *Images {
	s := &Images{basis: Space{dev: dev}, sum: ws.New(n, c, h, w)}
	for range k {
		s.basis.q = append(s.basis.q, ws.New(n, c, h, w))
	}
	return s
}

// Root is Σ^½ z [n, In] for z [n, In], which is overwritten, by k ≥ 1 JVPs: for a normal z a
// draw of N(0, Σ). Negative eigenvalues, which a learned Σ has, count as zero. The result is
// valid until the next call.
func (s *Images) Root(d prior.Denoiser, l Level, z compute.Tensor) (root compute.Tensor, err error) {
	norm, err := compute.Norms(s.basis.dev, z)
	if err != nil {
		return s.sum, err
	}
	ritz, err := s.basis.arnoldi(start{d: d, l: l, z: z, norm: norm, multiply: func(j int, from start) (compute.Tensor, error) {
		jv, err := from.d.JVP(s.basis.q[j])
		if err == nil {
			s.basis.dev.Combine(from.z, compute.Times(from.l.C(), jv))
		}
		return jv, err
	}})
	if err != nil {
		return s.sum, err
	}
	s.basis.combine(s.sum, ritz.function(func(_ int, e float64) float64 { return math.Sqrt(max(e, 0)) }))
	return s.sum, nil
}

// Gain is Σ Aᵀ S⁻¹ r [n, In] for r [n, Out], which is overwritten, by k ≥ 1 conjugate-gradient steps,
// a JVP each: the products Σ Aᵀ p of the directions p are summed, so that no adjoint is needed.
// A learned S is neither symmetric nor positive: a direction with pᵀSp ≤ ½σ_y²pᵀp tells nothing
// and gets a step of length zero. The result is valid until the next call.
func (s *Images) Gain(d prior.Denoiser, l Level, r compute.Tensor, k int) (gain compute.Tensor, err error) {
	dev, p, sp, n := s.basis.dev, s.direction, s.product, r.N
	s.op.Scale(r, r, 1)
	dev.Combine(p, compute.Times(1, r))
	rr, err := compute.Dot(dev, r, r)
	if err != nil {
		return s.sum, err
	}
	for step := range k {
		s.op.Adjoint(s.v, p)
		jv, err := d.JVP(s.v)
		if err != nil {
			return s.sum, err
		}
		s.op.Apply(sp, jv)
		dev.Combine(sp, compute.Times(l.C(), sp), compute.Times(l.S2(), p))
		dots, err := dev.Dots([2]compute.Tensor{p, sp}, [2]compute.Tensor{p, p})
		if err != nil {
			return s.sum, err
		}
		length, minus, toGain := make([]float64, n), make([]float64, n), make([]float64, n)
		for i, pSp := range dots[0] {
			if pSp > 0.5*l.S2()*dots[1][i] {
				length[i] = rr[i] / pSp
			}
			minus[i], toGain[i] = -length[i], l.C()*length[i]
		}
		if step == 0 {
			dev.Combine(s.sum, compute.Term{X: jv, Coef: toGain})
		} else {
			dev.Combine(s.sum, compute.Times(1, s.sum), compute.Term{X: jv, Coef: toGain})
		}
		if step == k-1 {
			break
		}
		dev.Combine(r, compute.Times(1, r), compute.Term{X: sp, Coef: minus})
		next, err := compute.Dot(dev, r, r)
		if err != nil {
			return s.sum, err
		}
		dev.Combine(p, compute.Times(1, r), compute.Term{X: p, Coef: ratio(next, rr)})
		rr = next
	}
	return s.sum, nil
}

// ratio is a/b, and 0 where b is.
func ratio(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range out {
		if b[i] > 0 {
			out[i] = a[i] / b[i]
		}
	}
	return out
}
