package guide

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// DPS is diffusion posterior sampling (Chung et al. 2023, algorithm 1):
//
//	x_{t−1} = x′ − ζ ∇_{x_t} ‖y − A x̂0(x_t)‖₂
//
// with one norm per image, not squared, and the gradient taken through the clipped
// x̂0. It takes nonlinear operators too.
type DPS struct {
	Scale float64 // ζ
	// Limit bounds each image's ζ so that to first order no step takes away more
	// than this fraction of its residual: ζ‖g‖² ≤ Limit·‖y − A x̂0‖ for the gradient g
	// of that norm. At 1 the bound is Polyak's step, where the linearised residual
	// vanishes. 0 is the published method, without a bound; see [DPSFor].
	Limit float64
	// Copies > 0 is DPS+: the norm is averaged over this number of copies of x̂0 with
	// 0.05·U[0, 1) added to every value. The published code takes 5.
	Copies int
	// Weights multiply ζ for each image; nil is 1. Under Poisson noise they are
	// [measure.PoissonWeight] of the measurements.
	Weights []float64
	// Published divides the gradient by the residual of the published program, whose y has
	// noise at the pixels that inpainting misses, too: √(‖y − A x̂0‖² + σ_y² per missing
	// value) in place of ‖y − A x̂0‖, taken at the noise's expectation.
	Published bool
}

// DPSScale returns the published ζ for 1000 steps, 0.5 for inpainting, 1 for phase retrieval
// and 0.3 for everything else, carried over to another number of steps: ζ·1000/steps keeps the
// guidance summed over a whole run the same.
func DPSScale(task string, steps int) float64 {
	zeta := 0.3
	switch {
	case isInpainting(task):
		zeta = 0.5
	case task == "phase":
		zeta = 1
	}
	return zeta * 1000 / float64(steps)
}

// DPSFor is DPS for a task and number of steps: [DPSScale], and with fewer steps than
// the published 1000 a Limit of one half.
//
// The carried-over ζ alone is too long where the noise is strong. There x̂0 hardly
// depends on x_t but for a few directions, brightness above all, in which ‖∂x̂0/∂x_t‖
// is large: at 20 steps the first step is 50 times Polyak's (at 1000 steps, once). It
// throws x̂0 out of [−1, 1], where the clamp lets no gradient through that could bring
// it back. One half, because the step is taken with the gradient of x_t, but judged by
// the next x̂0, which answers more strongly. docs/defaults.md has what was measured.
func DPSFor(task string, steps int) DPS {
	m := DPS{Scale: DPSScale(task, steps)}
	if steps < 1000 {
		m.Limit = 0.5
	}
	return m
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

// Cost implements [Method].
func (m DPS) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Adjoint: true, Shifts: m.Weights == nil}
}

// Step implements [Method]: one adjoint pass.
func (m DPS) Step(s *Step) error {
	if m.Weights != nil && len(m.Weights) != s.X.N {
		return fmt.Errorf("%d weights for %d images", len(m.Weights), s.X.N)
	}
	gradient, norm, residual, err := averagedGradient(s, m.Copies)
	if err != nil {
		return err
	}
	zetas := slices.Repeat([]float64{m.Scale}, len(norm))
	if m.Published {
		if zetas, err = publishedScale(s, m.Scale, residual); err != nil {
			return err
		}
	}
	coef := make([]float64, len(norm))
	for i, n := range norm {
		zeta := zetas[i]
		if m.Weights != nil {
			zeta *= m.Weights[i]
		}
		zeta = limited(zeta, m.Limit, residual[i], n)
		coef[i] = -zeta
		s.Guidance[i] = math.Abs(zeta) * n
	}
	s.Device.Combine(s.Next, compute.Times(1, s.Proposal), compute.Term{X: gradient, Coef: coef})
	return nil
}

// limited returns ζ under [DPS].Limit, for the residual's norm and that of the gradient.
func limited(zeta, limit, residual, norm float64) float64 {
	if most := limit * residual; most > 0 && zeta*norm*norm > most {
		return most / (norm * norm)
	}
	return zeta
}

// publishedScale returns each image's scale times ‖r‖/√(‖r‖² + σ_y² per value of y that is
// not measured), for its residual ‖r‖.
func publishedScale(s *Step, scale float64, residual []float64) ([]float64, error) {
	scales := slices.Repeat([]float64{scale}, len(residual))
	if s.A == nil {
		return scales, nil
	}
	ones := s.Tensor("measured", s.Y)
	if err := s.Work.Err(); err != nil {
		return nil, err
	}
	s.Device.Map(ones, compute.Exp(0, 0), s.Y)
	s.A.Scale(ones, ones, 1)
	measured, err := compute.Norms(s.Device, ones) // the root of their number
	for i, r := range residual {
		if missing := float64(s.Y.Len()) - measured[i]*measured[i]; missing > 0.5 {
			scales[i] *= r / math.Sqrt(r*r+missing*s.SigmaY*s.SigmaY)
		}
	}
	return scales, err
}

// residualGradient is g = ∇_{x_t} ‖y − A x̂0‖₂, x̂0 clipped as the sampler does, and
// the norm of g of each image.
func residualGradient(s *Step) (g compute.Tensor, norm []float64, err error) {
	g, norm, _, err = averagedGradient(s, 0)
	return g, norm, err
}

// averagedGradient returns the gradient of ‖y − A x̂0‖₂, its norm, and the residual's, of
// each image; averaged over noisy copies of x̂0, or without noise where copies is 0.
// The copies' cotangents are summed before the one adjoint pass.
func averagedGradient(s *Step, copies int) (g compute.Tensor, norm, residual []float64, err error) {
	d, u := s.Device, s.Tensor("cotangent", s.X)
	if err := s.Work.Err(); err != nil {
		return g, nil, nil, err
	}
	if copies == 0 {
		residual, err = normCotangent(s, u, s.Clipped)
		s.Residual = residual
	} else {
		one, noisy := s.Tensor("copy's cotangent", s.X), s.Tensor("copy", s.X)
		if err := s.Work.Err(); err != nil {
			return g, nil, nil, err
		}
		residual = make([]float64, s.X.N)
		host := make([]float32, noisy.N*noisy.Len())
		d.Combine(u, compute.Times(0, s.X))
		for k := range copies {
			s.Random(host, k)
			for i, z := range host { // the normal distribution's own function makes it uniform
				host[i] = float32(0.5 * math.Erfc(-float64(z)/math.Sqrt2))
			}
			d.Write(noisy, host)
			d.Combine(noisy, compute.Times(1, s.Clipped), compute.Times(0.05, noisy))
			length, err := normCotangent(s, one, noisy)
			if err != nil {
				return g, nil, nil, err
			}
			for i, v := range length {
				residual[i] += v / float64(copies)
			}
			d.Combine(u, compute.Times(1, u), compute.Times(1/float64(copies), one))
		}
	}
	if err != nil {
		return g, nil, nil, err
	}
	if s.Clips {
		d.Map(u, compute.Clamp(-1, 1).Adjoint(false), s.X0, u)
	}
	if g, err = s.Denoiser.VJP(u); err != nil {
		return g, nil, nil, err
	}
	norm, err = compute.Norms(d, g)
	return g, norm, residual, err
}

// normCotangent is u = ∇_{x0} ‖y − f(x0)‖₂ and that norm, one for each image.
func normCotangent(s *Step, u, x0 compute.Tensor) (norm []float64, err error) {
	d, residual := s.Device, s.Tensor("residual", s.Y)
	if err := s.Work.Err(); err != nil {
		return nil, err
	}
	s.Operator.Apply(residual, x0)
	d.Combine(residual, compute.Times(1, s.Y), compute.Times(-1, residual))
	if norm, err = compute.Norms(d, residual); err != nil {
		return nil, err
	}
	inverse := make([]float64, len(norm))
	for i, v := range norm {
		if v > 0 { // at a residual of zero the gradient of the norm is taken as zero
			inverse[i] = -1 / v
		}
	}
	d.Combine(residual, compute.Term{X: residual, Coef: inverse})
	measure.VJP(s.Operator, u, x0, residual)
	return norm, nil
}
