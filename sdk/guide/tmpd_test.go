package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// TMPD is the drift of −½ Σ_k r_k²/(Σ_j S_kj + σ_y²), r = y − A x̂0, the row sums of S = A Σ Aᵀ held
// constant and those below 0 taken for 0.
func TestTMPD(t *testing.T) {
	below := 0
	opposed := mat.NewDense(3, dim, nil)
	for k := range dim {
		opposed.SetCol(k, []float64{0.3, -0.9, float64(k % 2)})
	}
	for index, a := range map[int]*mat.Dense{2: nil, 5: opposed, 8: nil} {
		tr := newTrial(t, false, index, a, nil)
		moved := tr.run(t, guide.TMPD{})
		beta := tr.Schedule.Beta(index)
		for i := range images {
			l, err := tr.mix.At(tr.x[i], tr.alphaBar)
			assert.NoError(t, err)
			var s mat.Dense
			s.Product(tr.a, l.Covariance(), tr.a.T())
			g := tr.slope(t, i, func(l *mixture.Local) float64 {
				r, sum := tr.innovation(i, l, false), 0.0
				for k := range 3 {
					variance := mat.Sum(s.Slice(k, k+1, 0, 3))
					if variance < 0 {
						below++
					}
					sum -= r.AtVec(k) * r.AtVec(k) / (max(variance, 0) + tr.SigmaY*tr.SigmaY) / 2
				}
				return sum
			})
			assert.LessOrEqual(t, relative(moved[i], scaled(beta/math.Sqrt(1-beta), g)), 3e-4, "step %d, image %d", index, i)
		}
	}
	assert.Positive(t, below)
}
