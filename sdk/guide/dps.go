package guide

import (
	"fmt"
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// DPS is diffusion posterior sampling (Chung et al. 2023, algorithm 1):
//
//	x_{t−1} = x′ − ζ ∇_{x_t} ‖y − A x̂0(x_t)‖₂
//
// with one norm per image, not squared, and the gradient taken through the clipped
// x̂0. It takes nonlinear operators too.
type DPS struct {
	Scale float64 // ζ
	// Copies > 0 is DPS+: the norm is averaged over so many copies of x̂0 with
	// 0.05·U[0, 1) added to every value. The published code takes 5.
	Copies int
	// Weights multiply ζ for each image; nil is 1. Under Poisson noise they are
	// [measure.PoissonWeight] of the measurements.
	Weights []float64
}

// DPSScale is the published ζ for 1000 steps, 0.5 for inpainting and 0.3 for
// everything else, carried over to another number of steps: ζ·1000/steps keeps the
// guidance summed over a whole run the same.
func DPSScale(task string, steps int) float64 {
	zeta := 0.3
	if isInpainting(task) {
		zeta = 0.5
	}
	return zeta * 1000 / float64(steps)
}

func isInpainting(task string) bool {
	return task == "inpaint" || task == "box" || task == "mask"
}

func isSuperResolution(task string) bool { return strings.HasPrefix(task, "sr") }

// Name implements [Method].
func (m DPS) Name() string {
	if m.Copies > 0 {
		return "dps+"
	}
	return "dps"
}

// Passes implements [Method].
func (DPS) Passes() int { return 1 }

// GradientOnly says that the operator may be nonlinear.
func (DPS) GradientOnly() {}

// Step implements [Method]: one adjoint pass.
func (m DPS) Step(s *Step) error {
	if m.Weights != nil && len(m.Weights) != s.X.N {
		return fmt.Errorf("%d weights for %d images", len(m.Weights), s.X.N)
	}
	gradient, norm, err := averagedGradient(s, m.Copies)
	if err != nil {
		return err
	}
	coef := make([]float64, len(norm))
	for i, n := range norm {
		coef[i] = -m.Scale
		if m.Weights != nil {
			coef[i] *= m.Weights[i]
		}
		s.Guidance[i] = math.Abs(coef[i]) * n
	}
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal), compute.Term{X: gradient, Coef: coef})
	return nil
}

// residualGradient is g = ∇_{x_t} ‖y − A x̂0‖₂, x̂0 clipped as the sampler does, and
// the norm of g of each image.
func residualGradient(s *Step) (g compute.Tensor, norm []float64, err error) {
	return averagedGradient(s, 0)
}

// averagedGradient is the mean of residualGradient over noisy copies of x̂0, or
// without noise where copies is 0. The copies' cotangents are summed before the one
// adjoint pass.
func averagedGradient(s *Step, copies int) (g compute.Tensor, norm []float64, err error) {
	d, u := s.Device, s.Tensor("cotangent", s.X)
	if err := s.Work.Err(); err != nil {
		return g, nil, err
	}
	if copies == 0 {
		err = normCotangent(s, u, s.Clipped)
	} else {
		one, noisy := s.Tensor("copy's cotangent", s.X), s.Tensor("copy", s.X)
		if err := s.Work.Err(); err != nil {
			return g, nil, err
		}
		host := make([]float32, noisy.N*noisy.Len())
		d.Combine(u, compute.Times(0, s.X))
		for k := range copies {
			s.Random(host, k)
			for i, z := range host { // the normal distribution's own function makes it uniform
				host[i] = float32(0.5 * math.Erfc(-float64(z)/math.Sqrt2))
			}
			d.Write(noisy, host)
			d.Combine(noisy, compute.Times(1, s.Clipped), compute.Times(0.05, noisy))
			if err := normCotangent(s, one, noisy); err != nil {
				return g, nil, err
			}
			d.Combine(u, compute.Times(1, u), compute.Times(1/float64(copies), one))
		}
	}
	if err != nil {
		return g, nil, err
	}
	if s.Clips {
		d.ClampAdjoint(u, u, s.X0, -1, 1)
	}
	if g, err = s.PullBack(u); err != nil {
		return g, nil, err
	}
	norm, err = d.Dot(g, g)
	for i := range norm {
		norm[i] = math.Sqrt(norm[i])
	}
	return g, norm, err
}

// normCotangent is u = ∇_{x0} ‖y − f(x0)‖₂, one norm for each image.
func normCotangent(s *Step, u, x0 compute.Tensor) error {
	d, residual := s.Device, s.Tensor("residual", s.Y)
	if err := s.Work.Err(); err != nil {
		return err
	}
	s.Forward.Apply(residual, x0)
	d.Combine(residual, compute.Times(1, s.Y), compute.Times(-1, residual))
	square, err := d.Dot(residual, residual)
	if err != nil {
		return err
	}
	inverse := make([]float64, len(square))
	for i, v := range square {
		if v > 0 { // at a residual of zero the gradient of the norm is taken as zero
			inverse[i] = -1 / math.Sqrt(v)
		}
	}
	d.Combine(residual, compute.Term{X: residual, Coef: inverse})
	s.Forward.VJP(u, x0, residual)
	return nil
}
