package guide

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// PiGDM is pseudo-inverse guidance (Song et al. 2023), called GDM in
// arXiv 2501.02880: with p(y|x_t) ≈ N(A x̂0, P), P = r² A Aᵀ + σ_y² I, r² = 1 − ᾱ_t,
//
//	w = Aᵀ P⁻¹ (y − A x̂0),  g = Jᵀ w
//
// w is held constant and x̂0 is not clipped. The published form adds
// Scale·√ᾱ_s √ᾱ_t r² g to a step of DDIM with η = 1 (sdk.Options.DDIM; without it to
// DDPM's); the other guides the mean, as
// x̂0′ = clip(x̂0 + Scale·c g), c = σ_t²/√ᾱ_t, which on DDPM is a drift β/√α·g.
type PiGDM struct {
	Scale      float64 // 1
	GuidedMean bool    // the second form
	MinSigmaY  float64 // a floor on σ_y: 0.001, 0.01 for super-resolution
	Curvature  Curvature
	// Learned is the noise level σ_t/√ᾱ_t below which P has the variance of each pixel that the
	// network has learned in place of r² (Peng et al. 2024, arXiv 2402.02149, with 0.2); 0 is
	// without. It goes with the second form: the first one's r² is not of that variance.
	Learned float64
	// Published goes on as the published program does: the run begins at √ᾱ A⁺y + √(1−ᾱ) z
	// in place of noise z, A⁺ = Aᵀ(A Aᵀ + σ_y² I)⁻¹, and the step that the first form adds to
	// is that from x̂0 as it is, not clipped.
	Published bool
}

// PiGDMFor returns the published form with the floor on σ_y that suits a task.
func PiGDMFor(task string) PiGDM {
	m := PiGDM{Scale: 1, MinSigmaY: 0.001}
	if isSuperResolution(task) {
		m.MinSigmaY = 0.01
	}
	return m
}

// Name implements [Method].
func (PiGDM) Name() string { return "pigdm" }

// Cost implements [Method].
func (m PiGDM) Cost(s *diffusion.Schedule, index int) Cost {
	return Cost{Guides: true, Linear: true, Adjoint: true, Jet: m.Curvature.acts(s, index), Variance: learned(m.Learned, s, index), Shifts: !m.Published}
}

// Step implements [Method]: one adjoint pass, and a jet with Curvature.
func (m PiGDM) Step(s *Step) error {
	residual, w := s.Tensor("residual", s.Y), s.Tensor("innovation", s.X)
	if err := s.Work.Err(); err != nil {
		return err
	}
	innovation(s, residual)
	if sigmaY := max(s.SigmaY, m.MinSigmaY); learned(m.Learned, s.Schedule, s.Index) {
		d := s.Tensor("posterior variance", s.X)
		if err := s.Work.Err(); err != nil {
			return err
		}
		if err := s.weighted(d, w, residual, 1, sigmaY); err != nil {
			return err
		}
	} else if err := s.solve(w, residual, 1-s.Schedule.AlphaBar(s.Index), sigmaY*sigmaY, leastDamping); err != nil {
		return err
	}
	step := s
	if m.Published && !m.GuidedMean {
		unclipped, mean := *s, s.Tensor("unclipped mean", s.X)
		unclipped.Proposal = s.Tensor("unclipped proposal", s.X)
		if err := s.Work.Err(); err != nil {
			return err
		}
		s.Propose(unclipped.Proposal, mean, s.X0)
		step = &unclipped
	}
	if err := drift(step, w, m.Scale, m.GuidedMean); err != nil {
		return err
	}
	return m.Curvature.add(s, func() (compute.Tensor, error) { return s.Denoiser.Second(w, w) })
}

// Start implements [Starter].
func (m PiGDM) Start(s *Step) error {
	if !m.Published {
		return nil
	}
	return s.fromMeasurement(max(s.SigmaY, m.MinSigmaY))
}

// innovation is y − A x̂0, x̂0 not clipped.
func innovation(s *Step, dst compute.Tensor) {
	s.A.Apply(dst, s.X0)
	s.Device.Combine(dst, compute.Times(1, s.Y), compute.Times(-1, dst))
}

// drift moves the step along g = Jᵀ w, in the published DDIM form or as a guided mean.
func drift(s *Step, w compute.Tensor, scale float64, guidedMean bool) error {
	d, i := s.Device, s.Index
	g, err := s.Denoiser.VJP(w)
	if err != nil {
		return err
	}
	ab, abPrev := s.Schedule.AlphaBar(i), s.Schedule.AlphaBarPrev(i)
	if guidedMean {
		x0 := s.Tensor("guided x0", s.X)
		if err := s.Work.Err(); err != nil {
			return err
		}
		d.Combine(x0, compute.Times(1, s.X0), compute.Times(scale*(1-ab)/math.Sqrt(ab), g))
		return s.through(x0)
	}
	d.Combine(s.Next, compute.Times(1, s.Proposal), compute.Times(scale*math.Sqrt(abPrev*ab)*(1-ab), g))
	return s.report()
}
