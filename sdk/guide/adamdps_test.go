package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// AdamDPS steps along Adam's direction for the gradient of ‖y − A x̂0‖₂, x̂0 not clipped, with the
// bias of as many steps as were taken.
func TestAdamDPS(t *testing.T) {
	const scale, beta1, beta2 = 0.3, 0.6, 0.8
	for index, k := range map[int]float64{9: 1, 5: 5} {
		tr := newTrial(t, true, index, nil, nil)
		m, v := tr.read(t, tr.Carried[0]), tr.read(t, tr.Carried[1])
		moved := tr.run(t, guide.AdamDPS{Scale: scale, Beta1: beta1, Beta2: beta2})
		nextM, nextV := tr.read(t, tr.NextCarried[0]), tr.read(t, tr.NextCarried[1])
		for i := range images {
			g := tr.slope(t, i, func(l *mixture.Local) float64 { return mat.Norm(tr.innovation(i, l, false), 2) })
			want := make([]float64, dim)
			for p := range dim {
				m[i][p] = beta1*m[i][p] + (1-beta1)*g[p]
				v[i][p] = beta2*v[i][p] + (1-beta2)*g[p]*g[p]
				hat := m[i][p] / (1 - math.Pow(beta1, k)) / (math.Sqrt(v[i][p]/(1-math.Pow(beta2, k))) + 1e-8)
				want[p] = -scale / math.Sqrt(1-tr.Schedule.Beta(index)) * hat
			}
			assert.LessOrEqual(t, relative(moved[i], want), 1e-4, "step %d, image %d", index, i)
			assert.LessOrEqual(t, relative(nextM[i], m[i]), 1e-4)
			assert.LessOrEqual(t, relative(nextV[i], v[i]), 1e-4)
		}
	}
}

func TestAdamDPSValidates(t *testing.T) {
	assert.NoError(t, guide.Validate(guide.AdamDPS{}, nil))
	for _, m := range []guide.AdamDPS{{Beta1: 1}, {Beta2: -0.1}, {Beta2: math.NaN()}} {
		assert.ErrorContains(t, guide.Validate(m, nil), "adamdps has a beta of")
	}
}
