package golden

import (
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// A recorded step may have taken either slope of the clamp where x̂0 is ±1 to rounding; an
// error of 1e-3 elsewhere in the same step still fails.
func TestEitherSlope(t *testing.T) {
	dir := os.DirFS("../../testdata/golden")
	v, _, err := open(dir, "trajectories/sr4.safetensors")
	require.NoError(t, err)
	dev := cpu.New(0)
	defer dev.Close()
	_, err = replay(dir, v, "sr4", "dps", dev, func(r *trajectory) (float64, error) {
		const k = 3
		index, x := onTheLimit(t, r, k)
		at := func(inside bool) []float32 {
			r.slopes.inside = map[int]bool{index: inside}
			next, _, err := r.step(k, x)
			require.NoError(t, err)
			return next
		}
		slope1, slope0 := at(true), at(false)
		require.Greater(t, relative(slope1, slope0), r.bounds.step, "the slope matters")
		r.slopes.inside = map[int]bool{}
		for _, recorded := range [][]float32{slope1, slope0} {
			record := func(planted float32) float64 {
				copy(r.want[(k-1)*r.size:], x)
				copy(r.want[k*r.size:(k+1)*r.size], recorded)
				far := (index + r.size/4) % (r.size / 2)
				r.want[k*r.size+far] += planted
				_, e, err := r.step(k, r.before(k))
				require.NoError(t, err)
				_, e, err = r.eitherSlope(k, r.before(k), e)
				require.NoError(t, err)
				clear(r.slopes.inside)
				return e
			}
			assert.Less(t, record(0), r.bounds.step)
			norm := 0.0
			for _, v := range recorded {
				norm += float64(v) * float64(v)
			}
			assert.InDelta(t, 1e-3, record(float32(1e-3*math.Sqrt(norm))), r.bounds.step)
		}
		return 0, nil
	})
	require.NoError(t, err)
}

// onTheLimit moves one value of the recorded state before step k until its x̂0 is ±1 to
// rounding, and returns which value that is and the state.
func onTheLimit(t *testing.T, r *trajectory, k int) (index int, x []float32) {
	t.Helper()
	mean := func(x []float32, i int) float64 {
		_, _, err := r.step(k, x)
		require.NoError(t, err)
		return math.Abs(float64(r.slopes.x0[i])) - 1
	}
	mean(r.before(k), 0)
	near := make([]int, r.size)
	for i := range near {
		near[i] = i
	}
	x0 := slices.Clone(r.slopes.x0)
	distance := func(i int) float64 { return math.Abs(math.Abs(float64(x0[i])) - 1) }
	slices.SortFunc(near, func(a, b int) int { return int(math.Copysign(1, distance(a)-distance(b))) })
	for _, i := range near[:20] {
		moved := func(by float64) []float32 {
			x := slices.Clone(r.before(k))
			x[i] += float32(by)
			return x
		}
		low, high := -0.5, 0.5
		if mean(moved(low), i)*mean(moved(high), i) > 0 {
			continue
		}
		below := mean(moved(low), i) < 0
		for range 24 {
			if middle := (low + high) / 2; mean(moved(middle), i) < 0 == below {
				low = middle
			} else {
				high = middle
			}
		}
		x := moved(low)
		mean(x, i)
		r.slopes.inside = map[int]bool{i: true}
		one, _, err := r.step(k, x)
		require.NoError(t, err)
		r.slopes.inside = map[int]bool{i: false}
		other, _, err := r.step(k, x)
		require.NoError(t, err)
		ambiguous := slices.Contains(r.slopes.ambiguous, i)
		r.slopes.inside = map[int]bool{}
		if ambiguous && relative(one, other) > 1.5*r.bounds.step {
			return i, x
		}
	}
	require.Fail(t, "no value of x̂0 can be moved to ±1")
	return 0, nil
}
