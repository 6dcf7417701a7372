package metric_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// gaussians draws truths and pairs of samples around the posterior means, whose
// spread is that of the posterior (standard normal) times spread.
func gaussians(images, size int, spread float64, seed uint64) (x, x2, truth []float32) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for range images * size {
		mean := rng.NormFloat64()
		truth = append(truth, float32(mean+rng.NormFloat64()))
		x = append(x, float32(mean+spread*rng.NormFloat64()))
		x2 = append(x2, float32(mean+spread*rng.NormFloat64()))
	}
	return x, x2, truth
}

// Exact posterior samples have ratio 1, narrower ones less and wider ones more: in
// squared error 2s²/(1 + s²).
func TestExchangeability(t *testing.T) {
	for _, spread := range []float64{.5, 1, 2} {
		want := 2 * spread * spread / (1 + spread*spread)
		covered := 0
		const trials = 100
		for trial := range trials {
			x, x2, truth := gaussians(50, 64, spread, uint64(trial))
			ratio, lo, hi, err := metric.ExchangeabilityOf(metric.SquaredError[float32], x, x2, truth, 50, 1, 8, 8, 300, 5)
			require.NoError(t, err)
			require.InEpsilon(t, want, ratio, .1)
			require.LessOrEqual(t, lo, ratio)
			require.LessOrEqual(t, ratio, hi)
			if lo <= want && want <= hi {
				covered++
			}
		}
		require.InDelta(t, 95, covered, 8, "spread %v: the interval's coverage", spread)
	}
}

func TestExchangeabilityProperties(t *testing.T) {
	between, first, second := []float64{1, 3, 2}, []float64{2, 1, 4}, []float64{1, 1, 3}
	ratio, lo, hi, err := metric.Exchangeability(between, first, second, 1000, 1)
	require.NoError(t, err)
	require.InDelta(t, 1.0, ratio, 1e-12, "(1 + 3 + 2) over ½(3 + 2 + 7)")
	again, lo2, hi2, err := metric.Exchangeability(between, second, first, 1000, 1)
	require.NoError(t, err)
	require.Equal(t, [3]float64{ratio, lo, hi}, [3]float64{again, lo2, hi2}, "the samples may change places")

	for want, call := range map[string]func() error{
		"3, 2 and 3 distances": func() error { _, _, _, err := metric.Exchangeability(between, first[1:], second, 10, 1); return err },
		"no values":            func() error { _, _, _, err := metric.Exchangeability(nil, nil, nil, 10, 1); return err },
		"0 resamples":          func() error { _, _, _, err := metric.Exchangeability(between, first, second, 0, 1); return err },
		"image 1 has distance NaN": func() error {
			_, _, _, err := metric.Exchangeability([]float64{1, math.NaN()}, []float64{1, 1}, []float64{1, 1}, 10, 1)
			return err
		},
		"all samples equal the truth": func() error {
			_, _, _, err := metric.Exchangeability([]float64{0}, []float64{0}, []float64{0}, 10, 1)
			return err
		},
		"this is no distance": func() error {
			_, _, _, err := metric.Exchangeability([]float64{1}, []float64{0}, []float64{0}, 10, 1)
			return err
		},
	} {
		require.ErrorContains(t, call(), want)
	}
	_, _, _, err = metric.ExchangeabilityOf(metric.SquaredError[float32], make([]float32, 3), make([]float32, 4), make([]float32, 4), 1, 1, 2, 2, 10, 1)
	require.ErrorContains(t, err, "squared error: 3 and 4 values")
}

func ExampleExchangeability() {
	// Squared errors of three images: between two samples, and of each to the truth.
	ratio, _, _, err := metric.Exchangeability([]float64{2, 3, 1}, []float64{4, 4, 2}, []float64{4, 6, 4}, 1000, 1)
	fmt.Printf("%.2f %v\n", ratio, err) // the samples are closer to each other than to the truth
	// Output: 0.50 <nil>
}
