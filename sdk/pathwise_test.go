package sdk_test

import (
	"fmt"
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

// On a Gaussian prior pathwise conditioning samples the posterior exactly in any number of
// steps: mean and covariance of the samples are those of the closed form to five standard
// errors. Without the draw of Σ^½ the samples are too narrow.
func TestPathwiseIsExactOnAGaussian(t *testing.T) {
	const samples, dim = 4000, 3
	dev := device(t, 0)
	gaussian := &mixture.Mixture{Weights: []float64{1}, Means: [][]float64{{0.5, -1, 0.2}}, Std: 0.7}
	a, y, sigma := mat.NewDense(2, dim, []float64{1, 0.5, -0.3, 0, 0.8, 1}), []float64{0.9, -0.4}, 0.3
	posterior, err := gaussian.Posterior(a, y, sigma)
	require.NoError(t, err)
	var want mat.Dense
	want.Mul(posterior.Factor, posterior.Factor.T())
	betas, err := diffusion.LinearBetas(200, 1e-3, 0.1)
	require.NoError(t, err)
	model, err := mixture.NewModel(gaussian, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	t.Cleanup(model.Close)
	op, err := measure.NewDense(dev, a)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	p := sdk.Problem{Prior: model, Operator: op, N: samples, SigmaY: sigma}
	for range samples {
		p.Y = append(p.Y, float32(y[0]), float32(y[1]))
	}
	sampled := func(steps, root int) (mean []float64, covariance *mat.SymDense) {
		schedule, err := diffusion.New(betas, steps)
		require.NoError(t, err)
		x := mat.NewDense(samples, dim, nil)
		for i, v := range restore(t, p, sdk.Options{
			Method: guide.Pathwise{Root: root, Solve: 2}, Schedule: schedule, DDIM: ptr(1.0), Variance: diffusion.FixedSmall, NoClip: true, Seed: 3,
		}) {
			x.Set(i/dim, i%dim, float64(v))
		}
		for k := range dim {
			mean = append(mean, stat.Mean(mat.Col(nil, k, x), nil))
		}
		covariance = mat.NewSymDense(dim, nil)
		stat.CovarianceMatrix(covariance, x, nil)
		return mean, covariance
	}
	for _, steps := range []int{2, 7, 40} {
		mean, covariance := sampled(steps, dim)
		for i := range dim {
			assert.InDelta(t, posterior.Means[0][i], mean[i], 5*math.Sqrt(want.At(i, i)/samples), "%d steps, mean %d", steps, i)
			for j := range dim {
				most := 5 * math.Sqrt((want.At(i, i)*want.At(j, j)+want.At(i, j)*want.At(i, j))/samples)
				assert.InDelta(t, want.At(i, j), covariance.At(i, j), most, fmt.Sprintf("%d steps, covariance %d %d", steps, i, j))
			}
		}
	}
	_, narrow := sampled(7, 0)
	assert.Less(t, mat.Trace(narrow), 0.8*mat.Trace(&want))
}
