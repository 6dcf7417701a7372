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
)

// On a Gaussian prior pathwise conditioning samples the posterior exactly in any number of
// steps: mean and covariance of the samples are those of the closed form to five standard
// errors. Without the draw of Σ^½ the samples are too narrow.
func TestPathwiseIsExactOnAGaussian(t *testing.T) {
	const samples, dim = 4000, 3
	betas, err := diffusion.LinearBetas(200, 1e-3, 0.1)
	require.NoError(t, err)
	p, gaussian, a, y := oneGaussian(t, betas, samples, 0.3)
	posterior, err := gaussian.Posterior(a, y, p.SigmaY)
	require.NoError(t, err)
	want := covarianceOf(posterior)
	sampled := func(steps, root int) (mean []float64, covariance *mat.SymDense) {
		schedule, err := diffusion.New(betas, steps)
		require.NoError(t, err)
		x := asRows(restore(t, p, sdk.Options{
			Method: guide.Pathwise{Root: root, Solve: 2}, Schedule: schedule, DDIM: ptr(1.0), Variance: diffusion.FixedSmall, NoClip: true, Seed: 3,
		}), dim)
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
	assert.Less(t, mat.Trace(narrow), 0.8*mat.Trace(want))
}
