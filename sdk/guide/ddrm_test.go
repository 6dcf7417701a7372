package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// What DDRM denoises is its equations in the coordinates of the singular vectors, at the level of its
// step: where y's noise is above it and where it is below.
func TestDDRM(t *testing.T) {
	above, below := 0, 0
	for _, index := range []int{1, 3, 5, 8} {
		tr := newTrial(t, true, index, nil, nil)
		var svd mat.SVD
		require.True(t, svd.Factorize(tr.a, mat.SVDFull))
		var u, v mat.Dense
		svd.UTo(&u)
		svd.VTo(&v)
		singular := append(svd.Values(nil), make([]float64, dim-3)...)

		// 9 evaluations follow the first: 3 at the last level.
		top, end := 1.5, tr.SigmaY/singular[0]
		want := end * math.Pow(top/end, float64(max(index-3, 0))/6)
		var ab float64
		var denoised [][]float64
		evaluate := tr.EvaluateAt
		tr.EvaluateAt = func(x0, x compute.Tensor, timesteps []int) error {
			ab = tr.Schedule.TrainingAlphaBar(timesteps[0])
			denoised = tr.read(t, x)
			return evaluate(x0, x, timesteps)
		}
		moved := tr.run(t, guide.DDRM{Top: top})
		rho := math.Sqrt((1 - ab) / ab)
		assert.InDelta(t, 1, rho/want, 0.2, "the level of step %d: %.3f, %.3f is wanted", index, rho, want)
		along := func(m *mat.Dense, k int, x []float64) float64 {
			return mat.Dot(m.ColView(k), mat.NewVecDense(len(x), x))
		}
		x, carried, mean, proposal := tr.read(t, tr.X), tr.read(t, tr.Carried[0]), tr.read(t, tr.NextCarried[0]), tr.read(t, tr.Proposal)
		for i := range images {
			for k, s := range singular {
				xi, z := along(&v, k, wide(tr.noise[i*dim:(i+1)*dim])), along(&v, k, x[i])
				if s < tr.SigmaY/rho {
					above++
					share := rho * rho * s * s / (tr.SigmaY * tr.SigmaY)
					if s > 0 {
						z += share * (along(&u, k, tr.y[i])/s - z)
					}
					z += rho * math.Sqrt(1-share) * xi
				} else {
					below++
					z = along(&u, k, tr.y[i])/s + math.Sqrt(rho*rho-tr.SigmaY*tr.SigmaY/(s*s))*xi
				}
				assert.InDelta(t, math.Sqrt(ab)*z, along(&v, k, denoised[i]), 1e-4, "step %d, image %d, singular value %v", index, i, s)
			}
			for k := range dim { // the mean of the steps at the last level
				next, share := moved[i][k]+proposal[i][k], 0.0
				if index <= 3 {
					share = 1 / float64(4-index)
				}
				assert.LessOrEqual(t, math.Abs(next), 1.0)
				assert.InDelta(t, carried[i][k]+share*(next-carried[i][k]), mean[i][k], 1e-5)
			}
		}
	}
	assert.Greater(t, min(above, below), 10, "both cases are tried")

	tr := newTrial(t, true, 0, nil, nil)
	tr.run(t, guide.DDRM{Top: 2})
	assert.Equal(t, tr.read(t, tr.Carried[0]), tr.read(t, tr.Next), "the result is the mean")
}
