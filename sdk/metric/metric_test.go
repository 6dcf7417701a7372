package metric_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// golden reads one tensor of the golden metrics.
func golden(t *testing.T, name string, shape ...int) []float32 {
	t.Helper()
	file, err := checkpoint.Open("../../testdata/golden/metrics.safetensors")
	require.NoError(t, err)
	defer file.Close()
	values, err := file.Floats(name, shape...)
	require.NoError(t, err)
	return values
}

func TestGolden(t *testing.T) {
	x, y := golden(t, "x", 6, 3, 64, 64), golden(t, "y", 6, 3, 64, 64)
	psnr, err := metric.PSNR(x, y, 6, 3, 64, 64)
	require.NoError(t, err)
	ssim, err := metric.SSIM(x, y, 6, 3, 64, 64)
	require.NoError(t, err)
	worst := 0.0
	for i, want := range golden(t, "psnr", 5) {
		require.InEpsilon(t, want, psnr[i], 1e-6, "PSNR of pair %d", i)
		worst = max(worst, math.Abs(psnr[i]/float64(want)-1))
	}
	// The golden SSIM was made with a float32 window, whose sum is off by about 1e-7;
	// that moves E[x²]−μ² and so SSIM by up to 4e-5 (see TestSSIMIsItsDefinition for
	// the exact check).
	for i, want := range golden(t, "ssim", 6) {
		require.InEpsilon(t, want, ssim[i], 5e-5, "SSIM of pair %d", i)
		worst = max(worst, math.Abs(ssim[i]/float64(want)-1))
	}
	t.Logf("worst relative difference %.1e; PSNR %.3f SSIM %.4f", worst, psnr, ssim)
}

func noise(rng *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = rng.Float64()
	}
	return x
}

func TestIdenticalImages(t *testing.T) {
	x := noise(rand.New(rand.NewPCG(1, 2)), 2*3*16*12)
	psnr, err := metric.PSNR(x, x, 2, 3, 16, 12)
	require.NoError(t, err)
	require.Equal(t, []float64{math.Inf(1), math.Inf(1)}, psnr)
	ssim, err := metric.SSIM(x, x, 2, 3, 16, 12)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{1, 1}, ssim, 1e-12)
}

// The definition of SSIM with a window of two dimensions, one image and channel.
func slowSSIM(x, y []float64, h, w int) float64 {
	var g [11][11]float64
	total := 0.0
	for i := range g {
		for j := range g[i] {
			di, dj := float64(i-5), float64(j-5)
			g[i][j] = math.Exp(-(di*di + dj*dj) / 4.5)
			total += g[i][j]
		}
	}
	sum, count := 0.0, 0.0
	for r := 0; r+11 <= h; r++ {
		for c := 0; c+11 <= w; c++ {
			over := func(f func(a, b float64) float64) (s float64) {
				for i := range g {
					for j := range g[i] {
						at := (r+i)*w + c + j
						s += g[i][j] / total * f(x[at], y[at])
					}
				}
				return s
			}
			mx := over(func(a, _ float64) float64 { return a })
			my := over(func(_, b float64) float64 { return b })
			vx := over(func(a, _ float64) float64 { return (a - mx) * (a - mx) })
			vy := over(func(_, b float64) float64 { return (b - my) * (b - my) })
			cov := over(func(a, b float64) float64 { return (a - mx) * (b - my) })
			sum += (2*mx*my + 1e-4) * (2*cov + 9e-4) / ((mx*mx + my*my + 1e-4) * (vx + vy + 9e-4))
			count++
		}
	}
	return sum / count
}

func TestSSIMIsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range [][2]int{{11, 11}, {13, 20}, {20, 13}, {290, 12}} {
		h, w := size[0], size[1]
		x, y := noise(rng, 2*h*w), noise(rng, 2*h*w)
		for i := range y {
			y[i] = .3*x[i] + .7*y[i]
		}
		want := (slowSSIM(x[:h*w], y[:h*w], h, w) + slowSSIM(x[h*w:], y[h*w:], h, w)) / 2
		got, err := metric.SSIM(x, y, 1, 2, h, w)
		require.NoError(t, err)
		require.InDelta(t, want, got[0], 1e-12)
		swapped, err := metric.SSIM(y, x, 1, 2, h, w)
		require.NoError(t, err)
		require.InDelta(t, got[0], swapped[0], 1e-12, "symmetric in its arguments")
	}
}

// Strips of rows are added in their order, whoever computed them.
func TestSSIMOnOneProcessor(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	x, y := noise(rng, 700*40), noise(rng, 700*40)
	many, err := metric.SSIM(x, y, 1, 1, 700, 40)
	require.NoError(t, err)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one, err := metric.SSIM(x, y, 1, 1, 700, 40)
	require.NoError(t, err)
	require.Equal(t, one, many)
}

// Each image of a batch is measured alone, in either precision.
func TestBatchIsImageByImage(t *testing.T) {
	const n, c, h, w = 3, 2, 12, 15
	rng := rand.New(rand.NewPCG(5, 6))
	x, y := noise(rng, n*c*h*w), noise(rng, n*c*h*w)
	x32, y32 := make([]float32, len(x)), make([]float32, len(y))
	for i := range x {
		x32[i], y32[i] = float32(x[i]), float32(y[i])
	}
	metrics := map[string]func([]float64, []float64, int, int, int, int) ([]float64, error){
		"PSNR": metric.PSNR[float64], "SSIM": metric.SSIM[float64]}
	metrics32 := map[string]func([]float32, []float32, int, int, int, int) ([]float64, error){
		"PSNR": metric.PSNR[float32], "SSIM": metric.SSIM[float32]}
	for name, f := range metrics {
		all, err := f(x, y, n, c, h, w)
		require.NoError(t, err)
		all32, err := metrics32[name](x32, y32, n, c, h, w)
		require.NoError(t, err)
		require.InDeltaSlice(t, all, all32, 1e-5)
		const size = c * h * w
		for i := range n {
			one, err := f(x[i*size:(i+1)*size], y[i*size:(i+1)*size], 1, c, h, w)
			require.NoError(t, err)
			require.InDelta(t, all[i], one[0], 1e-12)
		}
	}
}

func TestMetricErrors(t *testing.T) {
	x := make([]float32, 3*16*16)
	_, err := metric.PSNR(x, x[1:], 1, 3, 16, 16)
	require.ErrorContains(t, err, "768 and 767 values, want 768 each")
	_, err = metric.PSNR(x, x, 0, 3, 16, 16)
	require.ErrorContains(t, err, "0×3×16×16")
	_, err = metric.SSIM(x, x, 4, 3, 8, 8)
	require.ErrorContains(t, err, "8×8 (H×W), want at least 11×11")
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		y := make([]float32, len(x))
		y[300] = bad
		_, err = metric.PSNR(x, y, 3, 1, 16, 16)
		require.ErrorContains(t, err, "image 1 of 3")
		_, err = metric.SSIM(y, x, 3, 1, 16, 16)
		require.ErrorContains(t, err, "not finite")
	}
}

func TestUnit(t *testing.T) {
	require.Equal(t, []float32{0, 0, .5, .75, 1, 1}, metric.Unit([]float32{-3, -1, 0, .5, 1, 1.01}))
	require.True(t, math.IsNaN(metric.Unit([]float64{math.NaN()})[0]), "NaN is not hidden")
}

// The interval covers the true mean about 95 times in 100, and is as wide as the
// normal theory says.
func TestBootstrapCoverage(t *testing.T) {
	const trials, n = 400, 60
	rng := rand.New(rand.NewPCG(7, 8))
	covered, width := 0, 0.0
	for trial := range trials {
		a, b := make([]float64, n), make([]float64, n)
		for i := range a {
			shared := 10 * rng.NormFloat64() // cancels in the pair
			a[i] = shared + .5 + rng.NormFloat64()
			b[i] = shared
		}
		_, lo, hi, err := metric.PairedBootstrap(a, b, 400, uint64(trial))
		require.NoError(t, err)
		if lo <= .5 && .5 <= hi {
			covered++
		}
		width += (hi - lo) / trials
	}
	require.InDelta(t, .95, float64(covered)/trials, .04)
	require.InEpsilon(t, 2*1.96/math.Sqrt(n), width, .05)
}

func TestBootstrapProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	a, b := noise(rng, 25), noise(rng, 25)
	mean, lo, hi, err := metric.PairedBootstrap(a, b, 1000, 3)
	require.NoError(t, err)
	require.Less(t, lo, mean)
	require.Less(t, mean, hi)
	again, lo2, hi2, err := metric.PairedBootstrap(a, b, 1000, 3)
	require.NoError(t, err)
	require.Equal(t, [3]float64{mean, lo, hi}, [3]float64{again, lo2, hi2}, "the seed decides")
	_, other, _, err := metric.PairedBootstrap(a, b, 1000, 4)
	require.NoError(t, err)
	require.NotEqual(t, lo, other)

	mean, lo, hi, err = metric.PairedBootstrap(a[:1], b[:1], 100, 0)
	require.NoError(t, err)
	require.True(t, mean == a[0]-b[0] && math.IsNaN(lo) && math.IsNaN(hi), "one image has no interval: %v (%v … %v)", mean, lo, hi)

	_, _, _, err = metric.PairedBootstrap(a, b[1:], 100, 0)
	require.ErrorContains(t, err, "25 and 24 values")
	_, _, _, err = metric.PairedBootstrap(nil, nil, 100, 0)
	require.ErrorContains(t, err, "no values")
	_, _, _, err = metric.PairedBootstrap(a, b, 0, 0)
	require.ErrorContains(t, err, "0 resamples")
	a[4], b[4] = math.Inf(1), math.Inf(1)
	_, _, _, err = metric.PairedBootstrap(a, b, 100, 0)
	require.ErrorContains(t, err, "image 4 has +Inf")
}

func ExamplePSNR() {
	truth := []float64{-1, -.5, 0, .5}
	restored := []float64{-.8, -.5, 0, .5}
	psnr, err := metric.PSNR(metric.Unit(restored), metric.Unit(truth), 1, 1, 2, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.1f dB\n", psnr[0])
	// Output: 26.0 dB
}

func ExampleSSIM() {
	image := make([]float32, 3*16*16)
	for i := range image {
		image[i] = float32(i%16) / 15
	}
	ssim, err := metric.SSIM(image, image, 1, 3, 16, 16)
	fmt.Printf("%.3f %v\n", ssim[0], err)
	// Output: 1.000 <nil>
}

func ExamplePairedBootstrap() {
	with := []float64{26.9, 24.1, 28.0, 25.5, 27.2, 26.0}
	without := []float64{26.1, 23.8, 27.1, 25.0, 26.7, 25.1}
	mean, lo, hi, err := metric.PairedBootstrap(with, without, 10000, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%+.2f dB, 95 %% interval [%+.2f, %+.2f]\n", mean, lo, hi)
	// Output: +0.65 dB, 95 % interval [+0.47, +0.82]
}

func BenchmarkSSIM256(b *testing.B) {
	x := make([]float32, 3*256*256)
	for i := range x {
		x[i] = float32(i%251) / 251
	}
	for b.Loop() {
		if _, err := metric.SSIM(x, x, 1, 3, 256, 256); err != nil {
			b.Fatal(err)
		}
	}
}
