package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// The draws of a method that conditions on the measurement.
const (
	imageNoise       = iota // ξ
	measurementNoise        // ζ
	furtherNoise            // and those that follow
)

// normal fills dst with the method's own standard normal noise of this step; draw numbers
// several such fields.
func (s *Step) normal(dst compute.Tensor, draw int) {
	z := make([]float32, dst.N*dst.Len())
	s.Random(z, draw)
	s.Device.Write(dst, z)
}

// leastDamping is a λ/λ_max(A Aᵀ) = 1/κ that conjugate gradients solve whatever the residual is: in 1000
// steps they reduce it to 2√κ((√κ−1)/(√κ+1))¹⁰⁰⁰ = 0.006. A blur is nearly singular: at 1e-6 they
// do not converge where the residual is noise.
const leastDamping = 3e-5

// solve computes dst = AᵀP⁻¹ residual, P = r2·A Aᵀ + s2·I. Where A has no known spectrum P is
// r2·(A Aᵀ + λI) with λ = s2/r2, but at least the multiple least of λ_max(A Aᵀ).
func (s *Step) solve(dst, residual compute.Tensor, r2, s2, least float64) error {
	if measure.Exact(s.A) {
		measure.Power(s.A, residual, residual, r2, s2, -1)
		s.A.Adjoint(dst, residual)
		return nil
	}
	if err := s.pseudoInverse(dst, residual, s2/r2, least); err != nil {
		return err
	}
	s.Device.Combine(dst, compute.Times(1/r2, dst))
	return nil
}

// pseudoInverse computes dst = Aᵀ(A Aᵀ + λI)⁻¹ y. Where A has no known spectrum λ is at least the
// multiple least of λ_max(A Aᵀ), for conjugate gradients.
func (s *Step) pseudoInverse(dst, y compute.Tensor, lambda, least float64) error {
	if measure.Exact(s.A) {
		return measure.PseudoInverse(s.Work, s.A, dst, y, lambda)
	}
	if measure.Of(s.A, 0) != s.A { // image by image: what one needs is not the others'
		for i := range dst.N {
			one := Step{Device: s.Device, Work: s.Work, A: measure.Of(s.A, i)}
			if err := one.pseudoInverse(dst.Images(i, i+1), y.Images(i, i+1), lambda, least); err != nil {
				return err
			}
		}
		return nil
	}
	return measure.PseudoInverse(s.Work, s.A, dst, y, max(lambda, least*s.A.LargestEigenvalue()))
}

// conditionalMean moves x, the mean of a belief N(x, r²I) of the image, to its mean given the
// measurement:
//
//	x + r² Aᵀ(r² A Aᵀ + σ_y² I)⁻¹ (y − A x)
func (s *Step) conditionalMean(x compute.Tensor, r float64) error {
	return s.condition(x, r, compute.Times(1, s.Y))
}

// conditionalDraw moves x, the mean of a belief N(x, r²I) of the image, to a draw from the
// belief given the measurement, by Matheron's rule: the mean from x + r ξ and y + σ_y ζ.
func (s *Step) conditionalDraw(x compute.Tensor, r float64) error {
	xi, zeta := s.Tensor("image noise", s.X), s.Tensor("measurement noise", s.Y)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.normal(xi, imageNoise)
	s.normal(zeta, measurementNoise)
	s.Device.Combine(x, compute.Times(1, x), compute.Times(r, xi))
	return s.condition(x, r, compute.Times(1, s.Y), compute.Times(s.SigmaY, zeta))
}

// condition is conditionalMean for another measurement.
func (s *Step) condition(x compute.Tensor, r float64, y ...compute.Term) error {
	d, residual, gain := s.Device, s.Tensor("residual", s.Y), s.Tensor("gain", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.A.Apply(residual, x)
	d.Combine(residual, append(y, compute.Times(-1, residual))...)
	if err := s.solve(gain, residual, r*r, s.SigmaY*s.SigmaY, 1e-4); err != nil {
		return err
	}
	d.Combine(x, compute.Times(1, x), compute.Times(r*r, gain))
	return nil
}

// through takes the base sampler's step from x0, clipped as the sampler does.
func (s *Step) through(x0 compute.Tensor) error {
	mean := s.Tensor("guided mean", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	if s.Clips {
		s.Device.Map(x0, compute.Clamp(-1, 1), x0)
	}
	s.Propose(s.Next, mean, x0)
	return s.report()
}

// report writes the norm of what the method added to the unconditional sample.
func (s *Step) report() error {
	moved := s.Tensor("moved", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.Device.Combine(moved, compute.Times(1, s.Next), compute.Times(-1, s.Proposal))
	length, err := compute.Norms(s.Device, moved)
	copy(s.Guidance, length)
	return err
}

// relativeNoise is σ_t/√ᾱ_t, the standard deviation of x_t/√ᾱ_t about the image.
func (s *Step) relativeNoise() float64 { return relativeNoise(s.Schedule, s.Index) }

func relativeNoise(s *diffusion.Schedule, index int) float64 {
	ab := s.AlphaBar(index)
	return math.Sqrt((1 - ab) / ab)
}
