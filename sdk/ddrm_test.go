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
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// On a Gaussian prior the mean over many runs of DDRM's results is the posterior mean to five standard errors,
// and each is nearer to it than a draw of the posterior.
func TestDDRMIsTheMeanOnAGaussian(t *testing.T) {
	const samples, dim, sigma = 2000, 3, 0.6
	betas, err := diffusion.LinearBetas(400, 5e-4, 0.05)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 61)
	require.NoError(t, err)
	p, gaussian, a, y := oneGaussian(t, betas, samples, sigma)
	posterior, err := gaussian.Posterior(a, y, sigma)
	require.NoError(t, err)
	x := asRows(restore(t, p, sdk.Options{Method: guide.DDRM{Top: 2}, Schedule: schedule, Variance: diffusion.FixedSmall, NoClip: true, Seed: 3}), dim)
	spread := 0.0
	for k := range dim {
		mean, std := stat.MeanStdDev(mat.Col(nil, k, x), nil)
		assert.InDelta(t, posterior.Means[0][k], mean, 5*std/math.Sqrt(samples), "coordinate %d", k)
		spread += std * std
	}
	assert.Less(t, spread, 0.5*mat.Trace(covarianceOf(posterior)))
}

// Where all is measured DDRM's result is the posterior mean itself, on a prior of several modes too, whatever
// is drawn.
func TestDDRMDenoisesExactly(t *testing.T) {
	const dim, level = 3, 40
	dev := device(t, 1)
	modes := &mixture.Mixture{Weights: []float64{0.3, 0.7}, Means: [][]float64{{0.6, -0.4, 0.2}, {-0.3, 0.5, 0.1}}, Std: 0.2}
	betas, err := diffusion.LinearBetas(200, 1e-3, 0.1)
	require.NoError(t, err)
	model, err := mixture.NewModel(modes, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	t.Cleanup(model.Close)
	op, err := measure.NewIdentity(dev, 1, 1, dim)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	ab := diffusion.AlphaBars(betas)[level]
	y := []float64{0.1, 0.2, -0.3}
	p := sdk.Problem{Prior: model, Operator: op, N: 1, SigmaY: math.Sqrt((1 - ab) / ab), Y: []float32{0.1, 0.2, -0.3}}
	local, err := modes.At([]float64{math.Sqrt(ab) * y[0], math.Sqrt(ab) * y[1], math.Sqrt(ab) * y[2]}, ab)
	require.NoError(t, err)
	want := local.Tweedie(nil)
	require.Less(t, 0.05, math.Abs(want[0]-y[0]))
	for _, steps := range []int{2, 3, 12} {
		schedule, err := diffusion.New(betas, steps)
		require.NoError(t, err)
		got := restore(t, p, sdk.Options{Method: guide.DDRM{Top: 2}, Schedule: schedule, Variance: diffusion.FixedSmall, NoClip: true, Seed: uint64(steps)})
		for k := range dim {
			assert.InDelta(t, want[k], got[k], 1e-3, "%d steps, coordinate %d", steps, k)
		}
	}
}
