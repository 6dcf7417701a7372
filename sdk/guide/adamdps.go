package guide

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// AdamDPS is [DPS] with the adaptive moments of Adam (Belardi et al. 2026, arXiv 2603.16797). With
// the gradient g = ∇_{x_t} ‖y − A x̂0(x_t)‖₂, x̂0 not clipped, in the k-th step, k = 1, 2, …:
//
//	m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²
//	x_{t−1} = x′ − (ζ/√α_t) m̂/(√v̂ + 10⁻⁸),  m̂ = m/(1−β₁ᵏ), v̂ = v/(1−β₂ᵏ)
//
// pixel by pixel. The norm of the gradient cancels, so that ζ is about the change of a pixel.
type AdamDPS struct {
	Scale        float64 // ζ
	Beta1, Beta2 float64 // in [0, 1)
}

// AdamDPSFor returns the settings for a number of steps: ζ = 1/steps, which suits 64×64 faces at 25 and
// 50 steps (3 to 4 in place of 1 at 256×256 in the published program), and β in the published range.
func AdamDPSFor(steps int) AdamDPS {
	return AdamDPS{Scale: 1 / float64(steps), Beta1: 0.4, Beta2: 0.4}
}

// Name implements [Method].
func (AdamDPS) Name() string { return "adamdps" }

// Cost implements [Method].
func (AdamDPS) Cost(*diffusion.Schedule, int) Cost {
	return Cost{Guides: true, Adjoint: true, Shifts: true}
}

// Carries implements [Carrier]: m and v.
func (AdamDPS) Carries() int { return 2 }

// Validate implements [Validator].
func (a AdamDPS) Validate(*float64) error {
	for _, beta := range []float64{a.Beta1, a.Beta2} {
		if !(beta >= 0 && beta < 1) {
			return fmt.Errorf("adamdps has a beta of %v, at least 0 and below 1 are wanted", beta)
		}
	}
	return nil
}

// Step implements [Method]: one adjoint pass.
func (a AdamDPS) Step(s *Step) error {
	unclipped := *s
	unclipped.Clipped, unclipped.Clips = s.X0, false
	g, _, err := residualGradient(&unclipped)
	if err != nil {
		return err
	}
	d, square, m, v := s.Device, s.Tensor("moment", s.X), s.NextCarried[0], s.NextCarried[1]
	if err := s.Work.Err(); err != nil {
		return err
	}
	d.Mul(square, g, g)
	d.Combine(m, compute.Times(a.Beta1, s.Carried[0]), compute.Times(1-a.Beta1, g))
	d.Combine(v, compute.Times(a.Beta2, s.Carried[1]), compute.Times(1-a.Beta2, square))
	k := float64(s.Schedule.Len() - s.Index)
	d.Map(square, compute.Pow(float32(1/(1-math.Pow(a.Beta2, k))), 0, 0.5), v)
	d.Map(square, compute.Pow(1, 1e-8, -1), square)
	d.Mul(square, square, m)
	d.Combine(s.Next, compute.Times(1, s.Proposal), compute.Times(-a.Scale/math.Sqrt(1-s.Schedule.Beta(s.Index))/(1-math.Pow(a.Beta1, k)), square))
	return s.report()
}
