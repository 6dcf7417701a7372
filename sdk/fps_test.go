package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// On a prior of two modes the mean of FPS's samples comes nearer to the posterior's with more particles.
func TestParticlesBringFPSToThePosterior(t *testing.T) {
	const samples, dim = 400, 3
	modes := &mixture.Mixture{Weights: []float64{0.5, 0.5}, Means: [][]float64{{1.5, -1, 0.2}, {-1.5, 1, 1}}, Std: 0.4}
	a, y, sigma := mat.NewDense(1, dim, []float64{0.3, 0.5, 1.2}), []float64{0.9}, 0.3
	posterior, err := modes.Posterior(a, y, sigma)
	require.NoError(t, err)
	want := make([]float64, dim)
	for k, w := range posterior.Weights {
		floats.AddScaled(want, w, posterior.Means[k])
	}
	betas, err := diffusion.LinearBetas(200, 1e-3, 0.1)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 25)
	require.NoError(t, err)
	p := ofMixture(t, modes, betas, a, y, samples, sigma)
	away := func(particles int) float64 {
		mean := make([]float64, dim)
		for i, v := range restore(t, p, sdk.Options{
			Method: guide.FPS{Particles: particles, Fresh: 0.95}, Schedule: schedule, Variance: diffusion.FixedSmall, NoClip: true, Seed: 3,
		}) {
			mean[i%dim] += float64(v) / samples
		}
		return floats.Distance(mean, want, 2)
	}
	one, many := away(1), away(16)
	assert.Less(t, many, 0.6*one, "%.3f with 16 particles, %.3f with one", many, one)
	assert.Less(t, many, 0.15)
}
