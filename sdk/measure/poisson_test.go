package measure_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// Mean A x and variance 2(A x + 1)/(255·rate), away from the limits; every value a
// whole number of counts within [−1, 1].
func TestPoissonMeasureMoments(t *testing.T) {
	dev := device(t)
	const n = 100 * 100
	op, err := measure.NewIdentity(dev, 1, 100, 100)
	require.NoError(t, err)
	defer op.Close()
	for _, rate := range []float64{0.1, 1, 4} {
		for _, level := range []float64{-1, -0.9, -0.5, 0, 0.2} {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(level)
			}
			y, err := measure.PoissonMeasure(dev, op, x, rate, seeded())
			require.NoError(t, err)
			var mean, square float64
			for _, v := range y {
				counts := (float64(v) + 1) / 2 * 255 * rate
				if v < 1 {
					require.InDelta(t, math.Round(counts), counts, 1e-3)
				}
				require.True(t, v >= -1 && v <= 1)
				mean += float64(v) / n
				square += (float64(v) - level) * (float64(v) - level) / n
			}
			variance := 2 * (level + 1) / (255 * rate)
			if 1-level < 4*math.Sqrt(variance) {
				continue // the limit cuts into it
			}
			assert.InDelta(t, level, mean, 4*math.Sqrt(variance/n)+1e-7, "mean at %v, rate %v", level, rate)
			assert.InDelta(t, variance, square, 0.08*variance+1e-12, "variance at %v, rate %v", level, rate)
		}
	}
}

// Beyond the limits the counts are of the limits, what is not measured is zero, the
// generator decides, and A is applied first.
func TestPoissonMeasureLimits(t *testing.T) {
	dev := device(t)
	op, err := measure.NewMask(dev, 1, 2, 2, []float32{1, 0, 1, 0})
	require.NoError(t, err)
	defer op.Close()
	y, err := measure.PoissonMeasure(dev, op, []float32{-3, 1, 7, 1, 0.5, 0.5, 0.5, 0.5}, 1, seeded())
	require.NoError(t, err)
	assert.EqualValues(t, -1, y[0])
	assert.InDelta(t, 1, y[2], 0.5)
	for _, i := range []int{1, 3, 5, 7} {
		assert.Zero(t, y[i])
	}
	again, err := measure.PoissonMeasure(dev, op, []float32{-3, 1, 7, 1, 0.5, 0.5, 0.5, 0.5}, 1, seeded())
	require.NoError(t, err)
	assert.Equal(t, y, again)

	whites := make([]float32, 4*100)
	for i := range whites {
		whites[i] = 3
	}
	y, err = measure.PoissonMeasure(dev, op, whites, 1, seeded())
	require.NoError(t, err)
	below := 0
	for _, v := range y {
		if v != 0 && v < 1 {
			below++
		}
	}
	assert.InDelta(t, 98, below, 30, "of 200 counts of white, 0.492 are below 255")

	for _, rate := range []float64{0, -1, 2e6, math.NaN()} {
		_, err = measure.PoissonMeasure(dev, op, make([]float32, 4), rate, seeded())
		assert.ErrorContains(t, err, "rate")
	}
	_, err = measure.PoissonMeasure(dev, op, make([]float32, 3), 1, seeded())
	assert.ErrorContains(t, err, "3 image values")
	_, err = measure.PoissonMeasure(dev, op, []float32{0, 0, float32(math.NaN()), 0}, 1, seeded())
	assert.ErrorContains(t, err, "value 2 of mask is NaN")
}

// The weight turns the gradient of ‖r‖ into that of mean(‖r‖/|y|).
func TestPoissonWeight(t *testing.T) {
	y, ax := []float32{0.5, -0.25, 1}, []float64{0.2, 0.1, -0.3}
	misfit := func(ax []float64, divide bool) float64 {
		r, sum := 0.0, 0.0
		for i, v := range ax {
			r += (float64(y[i]) - v) * (float64(y[i]) - v)
		}
		if !divide {
			return math.Sqrt(r)
		}
		for _, v := range y {
			sum += math.Sqrt(r) / math.Abs(float64(v)) / float64(len(y))
		}
		return sum
	}
	for i := range ax {
		gradient := func(divide bool) float64 {
			up, down := append([]float64(nil), ax...), append([]float64(nil), ax...)
			up[i] += 1e-6
			down[i] -= 1e-6
			return (misfit(up, divide) - misfit(down, divide)) / 2e-6
		}
		assert.InEpsilon(t, gradient(true), measure.PoissonWeight(y)*gradient(false), 1e-6)
	}
	assert.InEpsilon(t, 7.0/3, measure.PoissonWeight([]float32{0.5, 0, -0.25, 1, 0}), 1e-12, "zeros are left out")
	assert.Equal(t, 1.0, measure.PoissonWeight([]float32{0, 0}))
	assert.Equal(t, 1.0, measure.PoissonWeight(nil))
}
