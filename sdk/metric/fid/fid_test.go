package fid_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
)

const vectors = "../../../testdata/golden/metrics.safetensors"

func golden(t *testing.T, name string, shape ...int) []float32 {
	t.Helper()
	return floats(t, vectors, name, shape...)
}

func floats(t *testing.T, path, name string, shape ...int) []float32 {
	t.Helper()
	file, err := checkpoint.Open(path)
	require.NoError(t, err)
	defer file.Close()
	values, err := file.Floats(name, shape...)
	require.NoError(t, err)
	return values
}

// formula stands in for the Inception file, as in the golden vectors, and notes
// what is asked for.
type formula struct {
	checkpoint.Formula
	asked map[string][]int
}

func (f formula) Floats(name string, shape ...int) ([]float32, error) {
	f.asked[name] = shape
	count := checkpoint.Tensor{Shape: shape}.Len()
	switch {
	case len(shape) > 1:
		return checkpoint.FormulaValues(name, count, float64(count/shape[0])/2), nil
	case strings.HasSuffix(name, "running_var"):
		values := checkpoint.FormulaValues(name, count, 3)
		for i, v := range values {
			values[i] = 1 + max(v, -v)
		}
		return values, nil
	case strings.HasSuffix(name, "running_mean"):
		return checkpoint.FormulaValues(name, count, 300), nil
	}
	return checkpoint.Formula{name: shape}.Floats(name)
}

func relative(got, want []float32) float64 {
	var diff, norm float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		diff += d * d
		norm += float64(w) * float64(w)
	}
	return math.Sqrt(diff / norm)
}

func TestInception(t *testing.T) {
	dev := cpu.New(0)
	defer dev.Close()
	weights := formula{asked: map[string][]int{}}
	net, err := fid.LoadInception(dev, weights)
	require.NoError(t, err)
	defer net.Close()

	// The tensors of the released file are asked for, each in its shape.
	text, err := os.ReadFile("../../../testdata/golden/full/inception.tensors.json")
	require.NoError(t, err)
	released := map[string][]int{}
	require.NoError(t, json.Unmarshal(text, &released))
	require.Equal(t, released, weights.asked)

	x := golden(t, "x", 6, 3, 64, 64)[:2*3*64*64]
	got, dim, err := net.Features(x, 2, 3, 64, 64)
	require.NoError(t, err)
	require.Equal(t, fid.Dim, dim)
	e := relative(got, floats(t, "testdata/pool3.safetensors", "pool3", 2, 2048))
	require.Less(t, e, 1e-5, "against PyTorch in evaluation mode")
	t.Logf("relative error %.1e", e)

	_, _, err = net.Features(x, 2, 1, 64, 64)
	require.ErrorContains(t, err, "want N×3×H×W")
	x[5] = float32(math.NaN())
	_, _, err = net.Features(x, 2, 3, 64, 64)
	require.ErrorContains(t, err, "image 0 of 2 holds NaN")
}

// The golden features were computed in training mode and in float32, whose rounding
// that mode amplifies: in float64 the reference is 9e-5 from its own vector.
func TestGoldenInception(t *testing.T) {
	dev := cpu.New(0)
	defer dev.Close()
	net, err := fid.LoadTrainingInception(dev, formula{asked: map[string][]int{}})
	require.NoError(t, err)
	defer net.Close()
	got, _, err := net.Features(golden(t, "x", 6, 3, 64, 64)[:2*3*64*64], 2, 3, 64, 64)
	require.NoError(t, err)
	e := relative(got, golden(t, "inception_pool3", 2, 2048))
	require.Less(t, e, 1e-4)
	t.Logf("relative error %.1e", e)
}

func TestGoldenFrechet(t *testing.T) {
	a, err := fid.NewStatistics(golden(t, "frechet_a", 200, 48), 48)
	require.NoError(t, err)
	b, err := fid.NewStatistics(golden(t, "frechet_b", 150, 48), 48)
	require.NoError(t, err)
	got, err := fid.Distance(a, b)
	require.NoError(t, err)
	want := golden(t, "frechet", 1)[0]
	require.InEpsilon(t, want, got, 1e-6)
	t.Logf("%.9g, the reference has %.9g", got, want)
}

// draw makes n features of dim dimensions that vary in rank of them.
func draw(rng *rand.Rand, n, dim, rank int, shift float64) []float32 {
	mix := make([]float64, rank*dim)
	for i := range mix {
		mix[i] = rng.NormFloat64()
	}
	out := make([]float32, n*dim)
	for i := range n {
		z := make([]float64, rank)
		for r := range z {
			z[r] = rng.NormFloat64()
		}
		for j := range dim {
			v := shift
			for r := range z {
				v += z[r] * mix[r*dim+j]
			}
			out[i*dim+j] = float32(v)
		}
	}
	return out
}

func statistics(t *testing.T, features []float32, dim int) *fid.Statistics {
	t.Helper()
	s, err := fid.NewStatistics(features, dim)
	require.NoError(t, err)
	return s
}

// moments forgets the features, as a statistics file does.
func moments(t *testing.T, s *fid.Statistics) *fid.Statistics {
	t.Helper()
	dim := s.Dim()
	flat := make([]float64, dim*dim)
	for i := range flat {
		flat[i] = s.Covariance().At(i/dim, i%dim)
	}
	out, err := fid.FromMoments(s.Mean(), flat)
	require.NoError(t, err)
	return out
}

// Whichever way the covariances are held, and whatever their ranks, the distance is
// the same; it is symmetric and that of a set to itself is 0.
func TestDistanceProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const dim = 24
	for _, c := range []struct{ n, rank int }{{100, dim}, {100, 5}, {9, dim}, {9, 3}, {2, 1}} {
		a := statistics(t, draw(rng, c.n, dim, c.rank, 0), dim)
		b := statistics(t, draw(rng, 60, dim, dim, .5), dim)
		scale := mat.Trace(a.Covariance()) + mat.Trace(b.Covariance())
		want, err := fid.Distance(a, b)
		require.NoError(t, err)
		for _, pair := range [][2]*fid.Statistics{{b, a}, {moments(t, a), b}, {a, moments(t, b)}, {moments(t, a), moments(t, b)}, {moments(t, b), moments(t, a)}} {
			got, err := fid.Distance(pair[0], pair[1])
			require.NoError(t, err)
			require.InDelta(t, want, got, 1e-6*scale, "%d images of rank %d", c.n, c.rank)
		}
		self, err := fid.Distance(a, a)
		require.NoError(t, err)
		require.InDelta(t, 0, self, 1e-6*scale)
		self, err = fid.Distance(moments(t, a), moments(t, a))
		require.NoError(t, err)
		require.InDelta(t, 0, self, 1e-6*scale)
	}
}

// Statistics that are gathered bit by bit, of any number of images, are those of the definition, far from 0 too; and they can be
// read on the way.
func TestAccumulator(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const dim = 7
	features := draw(rng, 100, dim, dim, 1000)
	for _, n := range []int{2, 6, 7, 8, 13, 14, 15, 100} {
		for _, step := range []int{1, 3, 50} {
			var a fid.Accumulator
			for i := 0; i < n; i += step {
				require.NoError(t, a.Add(features[i*dim:min(i+step, n)*dim], dim))
				if i == 9 {
					_, err := a.Statistics()
					require.NoError(t, err)
				}
			}
			s, err := a.Statistics()
			require.NoError(t, err)
			for j := range dim {
				for k := range dim {
					x, y := make([]float64, n), make([]float64, n)
					for i := range n {
						x[i], y[i] = float64(features[i*dim+j]), float64(features[i*dim+k])
					}
					require.InDelta(t, stat.Mean(x, nil), s.Mean()[j], 1e-9)
					require.InDelta(t, stat.Covariance(x, y, nil), s.Covariance().At(j, k), 1e-9, "%d images, %d at a time", n, step)
				}
			}
		}
	}
	var a fid.Accumulator
	require.NoError(t, a.Add(make([]float32, 6), 3))
	require.ErrorContains(t, a.Add(make([]float32, 4), 2), "2 features an image after 3")
	require.ErrorContains(t, a.Add([]float32{0, 0, float32(math.Inf(1))}, 3), "feature 2 of image 2 is +Inf")
}

// What an Accumulator keeps does not grow with the images.
func TestMemoryOfAccumulator(t *testing.T) {
	const dim, images = 128, 5000
	rng := rand.New(rand.NewPCG(5, 6))
	one := make([]float32, dim)
	var a fid.Accumulator
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range images {
		for i := range one {
			one[i] = rng.Float32()
		}
		require.NoError(t, a.Add(one, dim))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := after.HeapAlloc - before.HeapAlloc
	t.Logf("%d images of %d features: %d KiB kept, their features are %d KiB", images, dim, kept/1024, images*dim*4/1024)
	require.Less(t, kept, uint64(20*dim*dim))
	runtime.KeepAlive(&a)
}

// Of Gaussians with independent components the distance has a closed form:
// Σ (μ_a − μ_b)² + (σ_a − σ_b)².
func TestDistanceOfIndependentComponents(t *testing.T) {
	diagonal := func(v ...float64) []float64 {
		out := make([]float64, len(v)*len(v))
		for i, s := range v {
			out[i*len(v)+i] = s * s
		}
		return out
	}
	a, err := fid.FromMoments([]float64{0, 1, -2, 0}, diagonal(1, 2, 0, 3))
	require.NoError(t, err)
	b, err := fid.FromMoments([]float64{1, 1, 1, 0}, diagonal(4, 2, 5, 0))
	require.NoError(t, err)
	got, err := fid.Distance(a, b)
	require.NoError(t, err)
	require.InDelta(t, 1+9+ /* spread */ 9+0+25+9, got, 1e-9)
	// No spread at all on one side.
	c, err := fid.FromMoments([]float64{0, 0, 0, 0}, diagonal(0, 0, 0, 0))
	require.NoError(t, err)
	for _, pair := range [][2]*fid.Statistics{{a, c}, {c, a}} {
		got, err = fid.Distance(pair[0], pair[1])
		require.NoError(t, err)
		require.InDelta(t, 1+4+1+4+9, got, 1e-9)
	}
}

func TestErrors(t *testing.T) {
	nan := math.NaN()
	for want, err := range map[string]func() error{
		"1 images, want at least 2":   func() error { _, err := fid.NewStatistics(make([]float32, 8), 8); return err },
		"9 features, want a multiple": func() error { _, err := fid.NewStatistics(make([]float32, 9), 8); return err },
		"feature 1 of image 1 is NaN": func() error { _, err := fid.NewStatistics([]float32{0, 0, 0, float32(nan)}, 2); return err },
		"mean of 2 and covariance of": func() error { _, err := fid.FromMoments([]float64{0, 0}, []float64{1}); return err },
		"variance 1 is -1":            func() error { _, err := fid.FromMoments([]float64{0, 0}, []float64{1, 0, 0, -1}); return err },
		"not symmetric: entry (0, 1)": func() error { _, err := fid.FromMoments([]float64{0, 0}, []float64{1, .5, 0, 1}); return err },
		"value 0 of mean and":         func() error { _, err := fid.FromMoments([]float64{nan}, []float64{1}); return err },
		"statistics of 2 and 3 featur": func() error {
			_, err := fid.Distance(statistics(t, make([]float32, 4), 2), statistics(t, make([]float32, 6), 3))
			return err
		},
	} {
		require.ErrorContains(t, err(), want)
	}
	_, err := fid.LoadInception(cpu.New(1), checkpoint.Formula{"fc.weight": {8, 8}})
	require.ErrorContains(t, err, "Conv2d_1a_3x3.conv.weight")
}

func ExampleDistance() {
	// Features of any network, here of two dimensions: the second set is the first,
	// moved by 3 and 4.
	a, err := fid.NewStatistics([]float32{0, 0, 1, 0, 0, 1, 1, 1}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := fid.NewStatistics([]float32{3, 4, 4, 4, 3, 5, 4, 5}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := fid.Distance(a, b)
	fmt.Printf("%.3f %v\n", d, err)
	// Output: 25.000 <nil>
}

func BenchmarkInception(b *testing.B) {
	dev := cpu.New(0)
	defer dev.Close()
	net, err := fid.LoadInception(dev, formula{asked: map[string][]int{}})
	require.NoError(b, err)
	x := make([]float32, 3*64*64)
	for b.Loop() {
		_, _, err := net.Features(x, 1, 3, 64, 64)
		require.NoError(b, err)
	}
}
