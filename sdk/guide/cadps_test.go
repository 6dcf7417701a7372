package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// CA-DPS moves along the gradient of ‖y − A x̂0‖₂, x̂0 clipped, times 1 + ε(x_t, t) − ε(x_t, s) of each value, ε from the exact
// scores at both levels; in the last step times 1 + ε(x_t, t).
func TestCADPS(t *testing.T) {
	const scale = 0.3
	for _, index := range []int{6, 1, 0} {
		tr := newTrial(t, true, index, nil, nil)
		moved := tr.run(t, guide.CADPS{Scale: scale})
		for i := range images {
			epsilon := func(alphaBar float64) []float64 {
				l, err := tr.mix.At(tr.x[i], alphaBar)
				require.NoError(t, err)
				return scaled(-math.Sqrt(1-alphaBar), l.Score(nil))
			}
			want := tr.slope(t, i, func(l *mixture.Local) float64 { return mat.Norm(tr.innovation(i, l, true), 2) })
			factor := epsilon(tr.alphaBar)
			if index > 0 {
				floats.Sub(factor, epsilon(tr.Schedule.AlphaBar(index-1)))
			}
			for k := range want {
				want[k] *= -scale * (1 + factor[k])
			}
			assert.LessOrEqual(t, relative(moved[i], want), 1e-3, "step %d, image %d", index, i)
		}
	}
}

// The limit is DPS's: of its ζ, before the factor.
func TestCADPSLimit(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	free, dps := tr.run(t, guide.CADPS{Scale: 100}), tr.run(t, guide.DPS{Scale: 100})
	limited, short := tr.run(t, guide.CADPS{Scale: 100, Limit: 0.5}), tr.run(t, guide.DPS{Scale: 100, Limit: 0.5})
	for i := range images {
		ratio := floats.Norm(short[i], 2) / floats.Norm(dps[i], 2)
		assert.Less(t, ratio, 0.99)
		assert.LessOrEqual(t, relative(limited[i], scaled(ratio, free[i])), 1e-4)
	}
}
