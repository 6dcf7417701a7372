package metric_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// Against a table of Student's distribution and its closed form for one degree of freedom.
func TestTwoSided(t *testing.T) {
	assert.InDelta(t, 0.05, metric.TwoSided(2.364624, 7), 1e-6)
	assert.InDelta(t, 0.01, metric.TwoSided(-3.249836, 9), 1e-6)
	for _, v := range []float64{0, 0.3, 1, 12} {
		assert.InDelta(t, 1-2*math.Atan(v)/math.Pi, metric.TwoSided(v, 1), 1e-9)
	}
	assert.Zero(t, metric.TwoSided(math.Inf(1), 3))
	assert.Equal(t, 1.0, metric.TwoSided(math.NaN(), 3))
}

// The example of the Holm–Bonferroni method, and its bounds.
func TestHolm(t *testing.T) {
	assert.InDeltaSlice(t, []float64{0.03, 0.06, 0.06, 0.02}, metric.Holm([]float64{0.01, 0.04, 0.03, 0.005}), 1e-12)
	assert.Equal(t, []float64{1, 1}, metric.Holm([]float64{0.9, 0.8}))
	assert.Empty(t, metric.Holm(nil))
}
