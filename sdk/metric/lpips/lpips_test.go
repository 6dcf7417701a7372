package lpips_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
)

var (
	_ metric.Distance = (*lpips.Metric)(nil).Distance
	_ fid.Features    = (*lpips.Metric)(nil)
)

// formula stands in for torchvision's files, as in the golden vectors: kernels with
// half the fan-in, biases with fan-in 300.
type formula struct{ checkpoint.Formula }

func (formula) Floats(name string, shape ...int) ([]float32, error) {
	count := checkpoint.Tensor{Shape: shape}.Len()
	if len(shape) == 1 {
		return checkpoint.FormulaValues(name, count, 300), nil
	}
	return checkpoint.FormulaValues(name, count, float64(count/shape[0])/2), nil
}

func golden(t *testing.T, name string, shape ...int) []float32 {
	t.Helper()
	file, err := checkpoint.Open("../../../testdata/golden/metrics.safetensors")
	require.NoError(t, err)
	defer file.Close()
	values, err := file.Floats(name, shape...)
	require.NoError(t, err)
	return values
}

// load opens a network by formula, or what is embedded for "like".
func load(t testing.TB, name string) *lpips.Metric {
	t.Helper()
	dev := cpu.New(0)
	m, err := lpips.Like(dev)
	if name != "like" {
		m, err = lpips.Load(dev, name, formula{})
	}
	require.NoError(t, err)
	t.Cleanup(func() { m.Close(); require.NoError(t, dev.Close()) })
	return m
}

func TestGolden(t *testing.T) {
	x, y := golden(t, "x", 6, 3, 64, 64), golden(t, "y", 6, 3, 64, 64)
	for _, name := range lpips.Names() {
		got, err := load(t, name).Distance(x, y, 6, 3, 64, 64)
		require.NoError(t, err)
		worst := 0.0
		for i, want := range golden(t, "lpips_"+name, 6) {
			require.InDelta(t, want, got[i], 2e-6*float64(want), "%s of pair %d", name, i)
			if want > 0 {
				worst = max(worst, math.Abs(got[i]/float64(want)-1))
			}
		}
		t.Logf("%s: worst relative error %.1e", name, worst)
	}
}

// truth returns the example faces on [0, 1] with their shape.
func truth(t testing.TB, n int) (x []float32, h, w int) {
	t.Helper()
	pictures, err := faces.Load(n)
	require.NoError(t, err)
	for _, p := range pictures {
		x = append(x, metric.Unit(p.Pix)...)
	}
	return x, pictures[0].H, pictures[0].W
}

func noisy(x []float32, sigma float64, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	out := slices.Clone(x)
	for i := range out {
		out[i] = min(max(out[i]+float32(sigma*rng.NormFloat64()), 0), 1)
	}
	return out
}

func TestDistanceProperties(t *testing.T) {
	const n = 5
	x, h, w := truth(t, n)
	size := 3 * h * w
	for _, name := range append(lpips.Names(), "like") {
		m := load(t, name)
		self, err := m.Distance(x, x, n, 3, h, w)
		require.NoError(t, err)
		require.Equal(t, make([]float64, n), self, "%s of equal images", name)
		last := make([]float64, n)
		for _, sigma := range []float64{.02, .08, .3} {
			y := noisy(x, sigma, 1)
			d, err := m.Distance(x, y, n, 3, h, w)
			require.NoError(t, err)
			back, err := m.Distance(y, x, n, 3, h, w)
			require.NoError(t, err)
			require.InDeltaSlice(t, d, back, 1e-9, "%s is symmetric", name)
			for i := range d {
				require.Greater(t, d[i], last[i], "%s grows with the noise", name)
				one, err := m.Distance(x[i*size:(i+1)*size], y[i*size:(i+1)*size], 1, 3, h, w)
				require.NoError(t, err)
				require.InEpsilon(t, d[i], one[0], 1e-5, "%s is image by image", name)
			}
			last = d
		}
	}
}

var likeWanted = []float64{0.0514569, 0.0722008, 0.0677403, 0.0890378, 0.0925254, 0.0968725, 0.1627171, 0.1189329}

// The wanted values were made with PyTorch in float64 from the original F32 weights;
// rounding them to F16 may cost 1e-3.
func TestLikeAgainstPyTorch(t *testing.T) {
	x, h, w := truth(t, 8)
	y := slices.Clone(x)
	for i := range y { // a darker picture with a checkerboard
		y[i] = .8*x[i] + .1*float32((i%w+i/w)%2)
	}
	got, err := load(t, "like").Distance(x, y, 8, 3, h, w)
	require.NoError(t, err)
	for i, want := range likeWanted {
		require.InEpsilon(t, want, got[i], 1e-3, "face %d", i)
	}
}

func TestFeatures(t *testing.T) {
	x, h, w := truth(t, 6)
	for name, want := range map[string]int{"alex": 256, "vgg": 512, "squeeze": 512, "like": 512} {
		m := load(t, name)
		all, dim, err := m.Features(x, 6, 3, h, w)
		require.NoError(t, err)
		require.Equal(t, want, dim)
		require.Len(t, all, 6*dim)
		last, _, err := m.Features(x[5*3*h*w:], 1, 3, h, w)
		require.NoError(t, err)
		require.InDeltaSlice(t, all[5*dim:], last, 1e-3)
	}
}

func TestErrors(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	_, err := lpips.Load(dev, "resnet", formula{})
	require.ErrorContains(t, err, `unknown network "resnet": known are alex, squeeze, vgg`)
	_, err = lpips.Load(dev, "alex", checkpoint.Formula{"features.0.weight": {64, 3, 7, 7}})
	require.ErrorContains(t, err, `AlexNet: formula checkpoint: tensor "features.0.weight" has shape [64 3 7 7], wanted [64 3 11 11]`)
	m := load(t, "like")
	x := make([]float32, 3*8*8)
	_, err = m.Distance(x, x, 1, 3, 8, 8)
	require.ErrorContains(t, err, "use larger images")
	_, err = m.Distance(x, x[1:], 1, 3, 8, 8)
	require.ErrorContains(t, err, "lpips-like (SqueezeNet v1.1): 191 values, want 192")
	_, err = m.Distance(x, x, 3, 1, 8, 8)
	require.ErrorContains(t, err, "want N×3×H×W")
	_, _, err = m.Features(x, 0, 3, 8, 8)
	require.ErrorContains(t, err, "0×3×8×8")
	x[70] = float32(math.Inf(1))
	_, err = m.Distance(make([]float32, len(x)), x, 1, 3, 8, 8)
	require.ErrorContains(t, err, "image 0 of 1 holds +Inf")
}

func ExampleLike() {
	dev := cpu.New(0)
	defer dev.Close()
	m, err := lpips.Like(dev)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	picture := make([]float32, 3*64*64) // RGB on [0, 1]
	for i := range picture {
		picture[i] = float32(i%64) / 63
	}
	d, err := m.Distance(picture, picture, 1, 3, 64, 64)
	fmt.Println(m.Name(), d, err)
	// Output: lpips-like (SqueezeNet v1.1) [0] <nil>
}

func BenchmarkLike64(b *testing.B) {
	m := load(b, "like")
	x, h, w := truth(b, 8)
	y := noisy(x, .1, 2)
	for b.Loop() {
		if _, err := m.Distance(x, y, 8, 3, h, w); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/8, "µs/pair")
}
