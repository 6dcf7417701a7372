package guide

import (
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// DPS is diffusion posterior sampling (Chung et al. 2023, algorithm 1):
//
//	x_{t−1} = x′ − ζ ∇_{x_t} ‖y − A x̂0(x_t)‖₂
//
// with one norm per image, not squared, and the gradient taken through the clipped x̂0.
type DPS struct {
	Scale float64 // ζ
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
func (DPS) Name() string { return "dps" }

// Step implements [Method]: one adjoint pass.
func (m DPS) Step(s *Step) error {
	gradient, norm, err := residualGradient(s)
	if err != nil {
		return err
	}
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal), compute.Times(-m.Scale, gradient))
	for i, n := range norm {
		s.Guidance[i] = math.Abs(m.Scale) * n
	}
	return nil
}

// residualGradient is g = ∇_{x_t} ‖y − A x̂0‖₂, x̂0 clipped as the sampler does, and
// the norm of g of each image.
func residualGradient(s *Step) (g compute.Tensor, norm []float64, err error) {
	d := s.Device
	residual, u := s.Tensor("residual", s.Y), s.Tensor("cotangent", s.X)
	if err := s.Work.Err(); err != nil {
		return g, nil, err
	}
	s.Operator.Apply(residual, s.Clipped)
	d.Combine(residual, compute.Times(1, s.Y), compute.Times(-1, residual))
	square, err := d.Dot(residual, residual)
	if err != nil {
		return g, nil, err
	}
	inverse := make([]float64, len(square))
	for i, v := range square {
		if v > 0 { // at a residual of zero the gradient of the norm is taken as zero
			inverse[i] = -1 / math.Sqrt(v)
		}
	}
	d.Combine(residual, compute.Term{X: residual, Coef: inverse})
	s.Operator.Adjoint(u, residual)
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
