package diffusion_test

import (
	"fmt"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

func schedule(t *testing.T, family string, steps, n int) *diffusion.Schedule {
	t.Helper()
	betas, err := diffusion.Betas(family, steps)
	require.NoError(t, err)
	s, err := diffusion.New(betas, n)
	require.NoError(t, err)
	return s
}

func TestScheduleGolden(t *testing.T) {
	golden, err := checkpoint.Open("../../testdata/golden/schedule.safetensors")
	require.NoError(t, err)
	defer golden.Close()
	values := map[string]func(*diffusion.Schedule) func(int) float64{
		"beta":                   func(s *diffusion.Schedule) func(int) float64 { return s.Beta },
		"alpha_bar":              func(s *diffusion.Schedule) func(int) float64 { return s.AlphaBar },
		"posterior_variance":     func(s *diffusion.Schedule) func(int) float64 { return s.PosteriorVariance },
		"posterior_log_variance": func(s *diffusion.Schedule) func(int) float64 { return s.PosteriorLogVariance },
		"coef_x0":                func(s *diffusion.Schedule) func(int) float64 { return s.CoefX0 },
		"coef_xt":                func(s *diffusion.Schedule) func(int) float64 { return s.CoefXt },
	}
	for _, family := range []string{"linear", "cosine"} {
		for _, n := range []int{1000, 100, 20} {
			s := schedule(t, family, 1000, n)
			prefix := family + "." + strconv.Itoa(n) + "."
			timesteps, err := golden.Ints(prefix + "timesteps")
			require.NoError(t, err)
			require.Equal(t, len(timesteps), s.Len())
			for i, want := range timesteps {
				assert.EqualValues(t, want, s.Timestep(i), "%s timestep %d", prefix, i)
			}
			for name, of := range values {
				want, err := golden.Float64s(prefix + name)
				require.NoError(t, err)
				got := make([]float64, s.Len())
				for i := range got {
					got[i] = of(s)(i)
				}
				assert.LessOrEqual(t, relative(got, want), 1e-12, prefix+name)
			}
		}
	}
}

// relative returns ‖got − want‖/‖want‖.
func relative(got, want []float64) float64 {
	var diff, norm float64
	for i := range want {
		diff += (got[i] - want[i]) * (got[i] - want[i])
		norm += want[i] * want[i]
	}
	if math.IsNaN(diff) {
		return math.Inf(1)
	}
	return math.Sqrt(diff / norm)
}

// The published table of the 1000-step linear schedule.
func TestScheduleTable(t *testing.T) {
	s := schedule(t, "linear", 1000, 1000)
	for _, row := range []struct {
		t                           int
		alphaBar, variance, c0, cxt float64
	}{
		{0, 0.9999, 0, 1, 0},
		{100, 0.8951415909, 0.0020545535, 0.018895456, 0.9810761},
		{500, 0.07779665837, 0.010051336, 0.0030580571, 0.99410435},
		{999, 4.035829765e-05, 0.019999984, 0.00012835149, 0.98994868},
	} {
		assert.InEpsilon(t, row.alphaBar, s.AlphaBar(row.t), 1e-9)
		assert.InDelta(t, row.variance, s.PosteriorVariance(row.t), 5e-10)
		assert.InDelta(t, row.c0, s.CoefX0(row.t), 1e-9)
		assert.InDelta(t, row.cxt, s.CoefXt(row.t), 1e-7)
	}
}

func TestRespacing(t *testing.T) {
	for n, want := range map[int][2][]int{ // first and last kept timesteps
		100:  {{0, 10, 20}, {989, 999}},
		50:   {{0, 20, 41, 61, 82}, {979, 999}},
		20:   {{0, 53, 105, 158, 210, 263}, {894, 946, 999}},
		7:    {{0, 166, 333, 500, 666, 832, 999}, nil}, // 166.5 and 832.5 go to even
		2:    {{0, 999}, {0, 999}},
		1:    {{0}, {0}},
		1000: {{0, 1, 2}, {998, 999}},
	} {
		s := schedule(t, "linear", 1000, n)
		for i, v := range want[0] {
			assert.Equal(t, v, s.Timestep(i), "%d steps, first", n)
		}
		for i, v := range want[1] {
			assert.Equal(t, v, s.Timestep(n-len(want[1])+i), "%d steps, last", n)
		}
	}
}

// With 21 steps the accumulated stride falls short of 499.5, and ten strides do not.
func TestRespacingAccumulates(t *testing.T) {
	assert.Equal(t, 499, schedule(t, "linear", 1000, 21).Timestep(10))
}

// Respacing must not change the marginals, and every derived number is finite.
func TestRespacedMarginals(t *testing.T) {
	for _, family := range []string{"linear", "cosine"} {
		all := schedule(t, family, 1000, 1000)
		for n := 1; n <= 1000; n += 37 {
			s := schedule(t, family, 1000, n)
			product := 1.0
			for i := range n {
				product *= 1 - s.Beta(i)
				assert.InEpsilon(t, all.AlphaBar(s.Timestep(i)), s.AlphaBar(i), 1e-8)
				assert.InEpsilon(t, s.AlphaBar(i), product, 1e-9, "%s %d: β does not lead to ᾱ at %d", family, n, i)
				assert.False(t, math.IsInf(s.PosteriorLogVariance(i), 0) || math.IsNaN(s.PosteriorLogVariance(i)))
				if i > 0 {
					assert.Less(t, s.AlphaBar(i), s.AlphaBarPrev(i))
					assert.Greater(t, s.Timestep(i), s.Timestep(i-1))
				}
			}
		}
	}
}

// c1·x0 + c2·x_t with variance β̃ must lead from the marginal at t to the one at
// t−1: q(x_prev) = ∫ q(x_prev | x_t, x0) q(x_t | x0).
func TestPosteriorLeadsToPreviousMarginal(t *testing.T) {
	for _, n := range []int{1000, 50, 7} {
		s := schedule(t, "cosine", 1000, n)
		for i := range n {
			cx0, cxt := s.DDPM(i)
			signal, noise := s.Forward(i)
			assert.InDelta(t, math.Sqrt(s.AlphaBarPrev(i)), cx0+cxt*signal, 1e-12)
			assert.InDelta(t, 1-s.AlphaBarPrev(i), cxt*cxt*noise*noise+s.PosteriorVariance(i), 1e-12)
		}
	}
}

func TestScheduleErrors(t *testing.T) {
	betas, err := diffusion.Linear(1000)
	require.NoError(t, err)
	for _, c := range []struct {
		make func() error
		says string
	}{
		{func() error { _, err := diffusion.New(betas, 0); return err }, "0 sampling steps of a schedule of 1000"},
		{func() error { _, err := diffusion.New(betas, -3); return err }, "1 to 1000 are possible"},
		{func() error { _, err := diffusion.New(betas, 1001); return err }, "1001 sampling steps"},
		{func() error { _, err := diffusion.New(nil, 1); return err }, "no training steps"},
		{func() error { _, err := diffusion.New([]float64{0.1, math.NaN()}, 1); return err }, "beta[1]"},
		{func() error { _, err := diffusion.Linear(0); return err }, "0 training steps"},
		{func() error { _, err := diffusion.Linear(20); return err }, "beta[19] of 20"},
		{func() error { _, err := diffusion.Cosine(-1); return err }, "-1 training steps"},
		{func() error { _, err := diffusion.LinearBetas(10, 0, 0.1); return err }, "beta[0]"},
		{func() error { _, err := diffusion.Betas("sigmoid", 10); return err }, `"sigmoid": cosine, linear are known`},
		{func() error { return diffusion.Variance("big").Validate() }, `"big": learned, fixed-small or fixed-large`},
	} {
		err := c.make()
		if assert.Error(t, err, c.says) {
			assert.Contains(t, err.Error(), c.says)
			assert.NotContains(t, err.Error(), "\n")
		}
	}
}

// Ten steps of the usual schedule: which timesteps the network sees.
func ExampleNew() {
	betas, err := diffusion.Linear(1000)
	if err != nil {
		panic(err)
	}
	s, err := diffusion.New(betas, 10)
	if err != nil {
		panic(err)
	}
	for i := s.Len() - 1; i >= 0; i -= 3 {
		fmt.Printf("t = %3d, alphaBar = %.4f\n", s.Timestep(i), s.AlphaBar(i))
	}
	// Output:
	// t = 999, alphaBar = 0.0000
	// t = 666, alphaBar = 0.0110
	// t = 333, alphaBar = 0.3186
	// t =   0, alphaBar = 0.9999
}

// The training step nearest in ratio, for a run that keeps only some of them, and beyond both ends.
func TestNearest(t *testing.T) {
	s := schedule(t, "linear", 1000, 7)
	level := func(t int) float64 {
		return math.Sqrt((1 - s.TrainingAlphaBar(t)) / s.TrainingAlphaBar(t))
	}
	for _, at := range []int{0, 1, 12, 500, 999} {
		assert.Equal(t, at, s.Nearest(level(at)))
	}
	assert.Equal(t, 12, s.Nearest(math.Sqrt(level(12)*level(13))*0.999))
	assert.Equal(t, 13, s.Nearest(math.Sqrt(level(12)*level(13))*1.001))
	assert.Equal(t, 0, s.Nearest(1e-9))
	assert.Equal(t, 999, s.Nearest(1e9))
	assert.InEpsilon(t, s.AlphaBar(6), s.TrainingAlphaBar(s.Timestep(6)), 1e-9)
}
