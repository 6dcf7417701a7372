package certainty_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// gaussian draws a truth and n samples of one Gaussian, whose standard deviation differs from
// pixel to pixel. The samples' is another multiple of it.
func gaussian(rng *rand.Rand, size, n int, spread float64) (truth []float32, samples [][]float32) {
	draw := func(spread float64) []float32 {
		x := make([]float32, size)
		for i := range x {
			std := 0.1 + float64(i%7)/10
			x[i] = float32(float64(i%3) + spread*std*rng.NormFloat64())
		}
		return x
	}
	truth = draw(1)
	for range n {
		samples = append(samples, draw(spread))
	}
	return truth, samples
}

// scored returns the scores and half-widths of one large picture.
func scored(t *testing.T, seed uint64, n int, spread, level float64) (scores, half []float64) {
	truth, samples := gaussian(rand.New(rand.NewPCG(seed, 0)), 70_000, n, spread)
	e, err := certainty.Of(samples)
	require.NoError(t, err)
	half, err = e.HalfWidth(level)
	require.NoError(t, err)
	scores, err = e.Scores(truth, half)
	require.NoError(t, err)
	return scores, half
}

// Intervals of few samples of a Gaussian hold the truth as often as they promise, whatever
// their number; those of samples that are too narrow don't, and the factor mends them.
func TestCoverageOfAGaussian(t *testing.T) {
	for _, n := range []int{2, 3, 8, 50} {
		for _, level := range []float64{.5, .9} {
			scores, half := scored(t, uint64(n), n, 1, level)
			bound := 5 * math.Sqrt(level*(1-level)/float64(len(scores)))
			assert.InDelta(t, level, certainty.Coverage(scores, 1), bound, "%d samples", n)
			factor, err := certainty.Factor(scores, 1-level)
			require.NoError(t, err)
			assert.InDelta(t, 1, factor, .03, "%d samples", n)

			narrow, narrowHalf := scored(t, uint64(n), n, .6, level)
			assert.Less(t, certainty.Coverage(narrow, 1), level-5*bound, "%d samples too narrow", n)
			if factor, err = certainty.Factor(narrow, 1-level); n < 50 { // the factor depends on n where the samples are few
				require.NoError(t, err)
			} else {
				assert.InDelta(t, math.Hypot(1, .6/math.Sqrt(50))/(.6*math.Sqrt(1+1./50)), factor, .03)
			}
			again, againHalf := scored(t, 99+uint64(n), n, .6, level)
			assert.InDelta(t, level, certainty.Coverage(again, factor), 2*bound, "other pictures")
			strata, err := certainty.Strata(again, againHalf, 7, factor)
			require.NoError(t, err)
			assert.Less(t, strata[0].Width, strata[6].Width)
			for _, s := range strata {
				assert.Equal(t, 10_000, s.Pixels)
			}
			assert.Equal(t, len(half), len(narrowHalf))
		}
	}
}

// The quantile is the (1−α)(1 + 1/n) one: of 9 scores the largest for 90 %, of 8 none.
func TestFactor(t *testing.T) {
	nine := []float64{5, 3, 9, 1, 7, 2, 8, 4, 6}
	factor, err := certainty.Factor(nine, .1)
	require.NoError(t, err)
	assert.Equal(t, 9., factor)
	factor, err = certainty.Factor(nine, .5)
	require.NoError(t, err)
	assert.Equal(t, 5., factor)
	_, err = certainty.Factor(nine[:8], .1)
	assert.ErrorContains(t, err, "8 scores are too few for intervals of probability 0.9, want at least 9")
	_, err = certainty.Factor(nine, 1)
	assert.ErrorContains(t, err, "alpha is 1")
	_, err = certainty.Factor([]float64{1, math.Inf(1), math.Inf(1)}, .4)
	assert.ErrorContains(t, err, "no width and miss the truth")
	_, err = certainty.Factor([]float64{1, math.NaN()}, .5)
	assert.ErrorContains(t, err, "not a number")
}

// Scaled intervals are wider, and where widths say nothing narrow ones miss more.
func TestStrata(t *testing.T) {
	scores, half := []float64{2, .5, .5, 2, .5, .5}, []float64{1, 1, 3, .5, 3, 3}
	strata, err := certainty.Strata(scores, half, 2, 1)
	require.NoError(t, err)
	want := []certainty.Stratum{{3, 5. / 3, 1. / 3}, {3, 6, 1}}
	for i, s := range strata {
		assert.Equal(t, want[i].Pixels, s.Pixels)
		assert.InDelta(t, want[i].Width, s.Width, 1e-12)
		assert.InDelta(t, want[i].Coverage, s.Coverage, 1e-12)
	}
	strata, err = certainty.Strata(scores, half, 1, 2)
	require.NoError(t, err)
	assert.InDelta(t, 1, strata[0].Coverage, 1e-12)
	assert.InDelta(t, 2*2*11.5/6, strata[0].Width, 1e-12)
	_, err = certainty.Strata(scores, half, 7, 1)
	assert.ErrorContains(t, err, "7 groups of 6 scores")
}

// Ranks are uniform for exact samples; samples that are too narrow give the first and the last
// too often, biased ones the last.
func TestRanksOfAGaussian(t *testing.T) {
	const pictures, n = 4000, 7
	p := func(change func(rng *rand.Rand) (truth []float32, samples [][]float32)) float64 {
		rng := rand.New(rand.NewPCG(3, 0))
		counts := make([]float64, n+1)
		for range pictures {
			truth, samples := change(rng)
			ranks, err := certainty.Ranks(truth, samples, 1, 5)
			require.NoError(t, err)
			counts[ranks[0]]++
		}
		chi2 := 0.0
		for _, c := range counts {
			d := c - pictures/float64(n+1)
			chi2 += d * d * (n + 1) / pictures
		}
		return distuv.ChiSquared{K: n}.Survival(chi2)
	}
	assert.Greater(t, p(func(rng *rand.Rand) ([]float32, [][]float32) { return gaussian(rng, 30, n, 1) }), .001)
	assert.Less(t, p(func(rng *rand.Rand) ([]float32, [][]float32) { return gaussian(rng, 30, n, .8) }), 1e-6, "too narrow")
	assert.Less(t, p(func(rng *rand.Rand) ([]float32, [][]float32) {
		truth, samples := gaussian(rng, 30, n, 1)
		for i := range truth {
			truth[i] += .4
		}
		return truth, samples
	}), 1e-6, "biased")
	x := []float32{1, 2}
	ranks, err := certainty.Ranks(x, [][]float32{x, x, x, x}, 2, 5)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 2}, ranks, "equal pictures")
}

// The energy score is lowest for exact samples, and their distances to each other and to the
// truth are equal.
func TestEnergyScoreOfAGaussian(t *testing.T) {
	score := func(spread float64) (energy, ratio float64) {
		rng := rand.New(rand.NewPCG(4, 0))
		const pictures = 2000
		var between, first, second []float64
		for range pictures {
			truth, samples := gaussian(rng, 20, 4, spread)
			e, err := certainty.EnergyScore(truth, samples)
			require.NoError(t, err)
			energy += e / pictures
			for to, pair := range map[*[]float64][2][]float32{&between: {samples[0], samples[1]}, &first: {samples[0], truth}, &second: {samples[1], truth}} {
				d, err := metric.SquaredError(pair[0], pair[1], 1, 1, 1, 20)
				require.NoError(t, err)
				*to = append(*to, d[0])
			}
		}
		ratio, _, _, err := metric.Exchangeability(between, first, second, 100, 1)
		require.NoError(t, err)
		return energy, ratio
	}
	exact, ratio := score(1)
	assert.InDelta(t, 1, ratio, .03)
	for _, spread := range []float64{.5, 1.6} {
		other, _ := score(spread)
		assert.Greater(t, other, exact*1.02, "%g times as wide", spread)
	}
	alike, err := certainty.EnergyScore([]float32{0, 0}, [][]float32{{3, 4}, {3, 4}})
	require.NoError(t, err)
	assert.InDelta(t, 5/math.Sqrt2, alike, 1e-12)
}

func TestWrongPictures(t *testing.T) {
	_, err := certainty.Of([][]float32{{1}})
	assert.ErrorContains(t, err, "1 samples, want at least 2")
	_, err = certainty.Of([][]float32{{1}, {1, 2}})
	assert.ErrorContains(t, err, "1 and 2 values")
	_, err = certainty.Of([][]float32{{1}, {float32(math.NaN())}})
	assert.ErrorContains(t, err, "picture 2 holds NaN")
	_, err = certainty.Ranks([]float32{1, 2}, [][]float32{{1}}, 1, 0)
	assert.ErrorContains(t, err, "1 and 2 values")
	e, err := certainty.Of([][]float32{{1, 2}, {1, 4}})
	require.NoError(t, err)
	assert.Equal(t, []float32{0, float32(math.Sqrt2)}, e.Std)
	_, err = e.HalfWidth(1)
	assert.ErrorContains(t, err, "probability 1 from 2 samples")
	half, err := e.HalfWidth(.5) // t = 1 with one degree of freedom
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float64{0, math.Sqrt(2 * 1.5)}, half, 1e-6)
	scores, err := e.Scores([]float32{1.5, 3}, half)
	require.NoError(t, err)
	assert.Equal(t, []float64{math.Inf(1), 0}, scores)
	_, err = e.Scores([]float32{1}, half)
	assert.ErrorContains(t, err, "a truth of 1 values")
}

func ExampleFactor() {
	truth := []float32{0, 1, 2, 3}
	e, _ := certainty.Of([][]float32{{.2, 1.1, 1.8, 3.3}, {-.1, 1.2, 1.6, 3.1}})
	half, _ := e.HalfWidth(.5)
	scores, _ := e.Scores(truth, half)
	factor, _ := certainty.Factor(scores, .5)
	fmt.Printf("%.2f\n", certainty.Coverage(scores, factor))
	// Output: 0.75
}
