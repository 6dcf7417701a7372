package measure_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/measure"
)

func TestNewKernel(t *testing.T) {
	weights := []float64{1, 2, -1, 4, 0, 2}
	k, err := measure.NewKernel(3, 1, weights[:3])
	require.NoError(t, err)
	assert.Equal(t, measure.Kernel{H: 3, W: 1, Weights: []float64{0.5, 1, -0.5}}, k)
	assert.Equal(t, 1.0, weights[0], "the caller's weights stay")
	for says, build := range map[string]func() (measure.Kernel, error){
		"a blur kernel of 3×2 with 6 weights: odd": func() (measure.Kernel, error) { return measure.NewKernel(3, 2, weights) },
		"a blur kernel of 3×3 with 6 weights":      func() (measure.Kernel, error) { return measure.NewKernel(3, 3, weights) },
		"a blur kernel of -1×-1":                   func() (measure.Kernel, error) { return measure.NewKernel(-1, -1, weights[:1]) },
		"kernel is zero":                           func() (measure.Kernel, error) { return measure.NewKernel(1, 3, make([]float64, 3)) },
		"sum to 0 and cannot":                      func() (measure.Kernel, error) { return measure.NewKernel(1, 3, []float64{1, -2, 1}) },
		"sum to -2 and cannot":                     func() (measure.Kernel, error) { return measure.NewKernel(1, 1, []float64{-2}) },
		"weight 0 is NaN":                          func() (measure.Kernel, error) { return measure.NewKernel(1, 1, []float64{math.NaN()}) },
	} {
		_, err := build()
		assert.ErrorContains(t, err, says)
	}
}
