package guide

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// weighted solves with the posterior variance of each pixel that the network has learned
// (Peng et al. 2024, arXiv 2402.02149): it writes d, that divided by λ, and
// w = Aᵀ(A D Aᵀ + σ_y² I)⁻¹ residual, D being the diagonal matrix of d.
func (s *Step) weighted(d, w, residual compute.Tensor, lambda, sigmaY float64) error {
	v, err := compute.ToHost(s.Device, s.Variance)
	if err != nil {
		return err
	}
	for i := range v {
		v[i] = float32(s.Schedule.PosteriorX0(s.Index, float64(v[i])) / lambda)
	}
	s.Device.Write(d, v)
	return measure.WeightedInverse(s.Work, s.A, w, residual, d, sigmaY*sigmaY)
}

// learned says whether a step's noise level σ_t/√ᾱ_t is below that of a method's Learned.
func learned(below float64, s *diffusion.Schedule, index int) bool {
	return relativeNoise(s, index) < below
}
