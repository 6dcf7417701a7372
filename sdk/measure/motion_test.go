package measure_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/measure"
)

func motion(t *testing.T, size int, intensity float64, seed uint64) measure.Kernel {
	t.Helper()
	k, err := measure.MotionKernel(size, intensity, rand.New(rand.NewPCG(seed, 0)))
	require.NoError(t, err)
	return k
}

// largestPiece returns the part of a kernel's weight that is connected, 8-neighbours,
// to its largest.
func largestPiece(k measure.Kernel) float64 {
	peak := 0
	for i, v := range k.Weights {
		if v > k.Weights[peak] {
			peak = i
		}
	}
	seen := map[int]bool{peak: true}
	sum := 0.0
	for queue := []int{peak}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		sum += k.Weights[at]
		for d := range 9 {
			y, x := at/k.W+d/3-1, at%k.W+d%3-1
			next := y*k.W + x
			if y >= 0 && y < k.H && x >= 0 && x < k.W && k.Weights[next] > 0 && !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return sum
}

// moments returns a kernel's variances along its principal axes, the larger first.
func moments(k measure.Kernel) (long, short float64) {
	var mx, my, xx, xy, yy float64
	for i, v := range k.Weights {
		mx += v * float64(i%k.W)
		my += v * float64(i/k.W)
	}
	for i, v := range k.Weights {
		x, y := float64(i%k.W)-mx, float64(i/k.W)-my
		xx += v * x * x
		xy += v * x * y
		yy += v * y * y
	}
	mean, spread := (xx+yy)/2, math.Hypot((xx-yy)/2, xy)
	return mean + spread, mean - spread
}

func TestMotionKernel(t *testing.T) {
	for _, size := range []int{1, 3, 15, 61} {
		for _, intensity := range []float64{0, 0.5, 1} {
			for seed := range uint64(20) {
				k := motion(t, size, intensity, seed)
				require.Len(t, k.Weights, size*size)
				total := 0.0
				for _, v := range k.Weights {
					require.GreaterOrEqual(t, v, 0.0)
					total += v
				}
				assert.InDelta(t, 1, total, 1e-12)
				assert.Equal(t, k, motion(t, size, intensity, seed), "the seed decides")
				// Negative lobes of the reduction that are cut to zero may separate the rim
				// of a path that leaves the canvas and comes back, no more.
				assert.Greater(t, largestPiece(k), 0.9, "size %d, intensity %v, seed %d", size, intensity, seed)
			}
		}
	}
	assert.NotEqual(t, motion(t, 15, 0.5, 1), motion(t, 15, 0.5, 2))
}

// At intensity 0 the motion is straight, no wider across than a line is; at
// intensity 1 many are.
func TestMotionIntensity(t *testing.T) {
	widest, wider := 0.0, 0
	for seed := range uint64(40) {
		_, short := moments(motion(t, 61, 0, seed))
		widest = max(widest, short)
		if _, short = moments(motion(t, 61, 1, seed)); short > 4 {
			wider++
		}
	}
	assert.Less(t, widest, 1.0, "pixels² across a straight line")
	assert.Greater(t, wider, 8)
}

func TestMotionKernelErrors(t *testing.T) {
	for _, size := range []int{-1, 0, 4, 513, math.MaxInt} {
		_, err := measure.MotionKernel(size, 0.5, seeded())
		assert.ErrorContains(t, err, "odd size")
	}
	for _, intensity := range []float64{-0.1, 1.1, math.NaN()} {
		_, err := measure.MotionKernel(15, intensity, seeded())
		assert.ErrorContains(t, err, "intensity")
	}
}
