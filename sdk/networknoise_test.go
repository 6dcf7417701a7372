package sdk_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// With the network's own noise a Gaussian prior is sampled exactly in any number of steps, by DDPM and by DDIM with η = 1; without
// it the samples of few steps are too narrow.
func TestNetworkNoiseIsExactOnAGaussian(t *testing.T) {
	const samples, dim, variance = 4000, 3, 0.49
	betas, err := diffusion.LinearBetas(200, 1e-3, 0.1)
	require.NoError(t, err)
	p, gaussian, _, _ := oneGaussian(t, betas, samples, 0.3)
	p.Operator, p.Y = nil, nil
	sampled := func(steps int, ddim *float64, noise *sdk.NetworkNoise) (mean []float64, covariance *mat.SymDense) {
		schedule, err := diffusion.New(betas, steps)
		require.NoError(t, err)
		x := asRows(restore(t, p, sdk.Options{
			Method: guide.Unconditional{}, Schedule: schedule, DDIM: ddim, Variance: diffusion.FixedSmall, NoClip: true, Seed: 3, NetworkNoise: noise,
		}), dim)
		for k := range dim {
			mean = append(mean, stat.Mean(mat.Col(nil, k, x), nil))
		}
		covariance = mat.NewSymDense(dim, nil)
		stat.CovarianceMatrix(covariance, x, nil)
		return mean, covariance
	}
	for _, steps := range []int{2, 7} {
		for _, ddim := range []*float64{nil, ptr(1.0)} {
			mean, covariance := sampled(steps, ddim, &sdk.NetworkNoise{Lanczos: 2})
			for i := range dim {
				assert.InDelta(t, gaussian.Means[0][i], mean[i], 5*math.Sqrt(variance/samples), "%d steps, mean %d", steps, i)
				for j := range dim {
					want, most := 0.0, 5*variance/math.Sqrt(samples)
					if i == j {
						want, most = variance, math.Sqrt2*most
					}
					assert.InDelta(t, want, covariance.At(i, j), most, "%d steps, covariance %d %d", steps, i, j)
				}
			}
		}
	}
	_, narrow := sampled(2, nil, nil)
	assert.Less(t, mat.Trace(narrow), 0.8*variance*dim)
}

// The plan of a run with the network's noise has its passes, and what it can't go with is refused.
func TestNetworkNoisesPlanAndRefusals(t *testing.T) {
	p, o := pictures(t, device(t, 1), "sr4", 2, 4)
	o.CMI, o.NetworkNoise = nil, &sdk.NetworkNoise{Lanczos: 2, MinAlphaBar: 0.03}
	plain := o
	plain.NetworkNoise = nil
	s := newSolver(t, p, o)
	usual := restore(t, p, plain)
	x, err := s.Run(t.Context())
	require.NoError(t, err)
	requireFinite(t, x)
	assert.NotEqual(t, usual, x)
	assert.Equal(t, sdk.NewPlan(p.Prior, o, p.N).Passes(), s.Passes())
	assert.Greater(t, s.Passes(), sdk.NewPlan(p.Prior, plain, p.N).Passes())

	for says, change := range map[string]func(o *sdk.Options){
		"0 Lanczos steps, 1 to 1000 are wanted":          func(o *sdk.Options) { o.NetworkNoise = &sdk.NetworkNoise{} },
		"particles are weighed by steps with noise":      func(o *sdk.Options) { o.Particles = 2 },
		"DDIM with eta 0 has no noise":                   func(o *sdk.Options) { o.DDIM = ptr(0.0) },
		"the method pathwise draws its states by itself": func(o *sdk.Options) { o.Method = guide.Pathwise{Root: 2, Solve: 2} },
		"the method diffpir draws its states by itself":  func(o *sdk.Options) { o.Method = guide.DiffPIR{Lambda: 1, Zeta: 1} },
	} {
		wrong := o
		change(&wrong)
		assert.ErrorContains(t, p.Validate(wrong), says)
	}
}
