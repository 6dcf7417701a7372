package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// DDNM+ is its equations in the coordinates of the singular vectors, where the measurement
// noise hides in the step's and where it does not.
func TestDDNM(t *testing.T) {
	hidden, seen := 0, 0
	for _, index := range []int{0, 2, 8} {
		for _, least := range []float64{0, 0.5} {
			tr := newTrial(t, true, index, nil, nil)
			const eta = 0.85
			moved := tr.run(t, guide.DDNM{Eta: eta, MinSingular: least})
			x0, proposal, epsilon := tr.read(t, tr.X0), tr.read(t, tr.Proposal), tr.read(t, tr.Epsilon)
			prev := tr.Schedule.AlphaBarPrev(index)
			a, sigma := math.Sqrt(prev), math.Sqrt(1-prev)
			var svd mat.SVD
			require.True(t, svd.Factorize(tr.a, mat.SVDFull))
			var u, v mat.Dense
			svd.UTo(&u)
			svd.VTo(&v)
			singular := append(svd.Values(nil), make([]float64, dim-3)...)
			along := func(m *mat.Dense, k int, x []float64) float64 {
				return mat.Dot(m.ColView(k), mat.NewVecDense(len(x), x))
			}
			for i := range images {
				want := scaled(-1, proposal[i])
				for k, s := range singular {
					mean, z, eps := along(&v, k, x0[i]), along(&v, k, wide(tr.noise[i*dim:(i+1)*dim])), along(&v, k, epsilon[i])
					d1, d2 := sigma*eta, sigma*math.Sqrt(1-eta*eta)
					if s > least {
						d2 = 0
						y := along(&u, k, tr.y[i]) / s
						if sigma < a*tr.SigmaY/s {
							mean += s * sigma * math.Sqrt(1-eta*eta) / (a * tr.SigmaY) * (y - mean)
							hidden++
						} else {
							mean, d1 = y, math.Sqrt(sigma*sigma-a*a*tr.SigmaY*tr.SigmaY/(s*s))
							seen++
						}
					}
					for p := range want {
						want[p] += v.At(p, k) * (a*mean + d1*z + d2*eps)
					}
				}
				assert.LessOrEqual(t, relative(moved[i], want), 1e-4, "step %d, image %d", index, i)
			}
		}
	}
	assert.Positive(t, hidden)
	assert.Positive(t, seen)
}
