package computetest_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
)

// golden reads a safetensors file of float32 images, made with PyTorch.
func golden(t *testing.T, path string) func(name string) computetest.Array {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	body := 8 + binary.LittleEndian.Uint64(data)
	var header map[string]struct {
		Shape   []int
		Offsets [2]uint64 `json:"data_offsets"`
	}
	require.NoError(t, json.Unmarshal(data[8:body], &header))
	return func(name string) computetest.Array {
		h, ok := header[name]
		require.True(t, ok, name)
		s := append([]int{1, 1, 1, 1}[:4-len(h.Shape)], h.Shape...)
		v := make([]float32, (h.Offsets[1]-h.Offsets[0])/4)
		_, err := binary.Decode(data[body+h.Offsets[0]:], binary.LittleEndian, v)
		require.NoError(t, err)
		return computetest.FromFloat32(v, s[0], s[1], s[2], s[3])
	}
}

func near(t *testing.T, want, got computetest.Array, bound float64, about ...any) {
	t.Helper()
	assert.Equal(t, [4]int{want.N, want.C, want.H, want.W}, [4]int{got.N, got.C, got.H, got.W})
	assert.LessOrEqual(t, computetest.RelativeError(got.V, want.V), bound, about...)
}

func TestOperatorsAgreeWithPyTorch(t *testing.T) {
	at := golden(t, "../../../testdata/golden/operators.safetensors")
	x := at("x")
	for _, blur := range []string{"gaussian", "motion"} {
		k, z := at(blur+".kernel"), at(blur+".z")
		near(t, at(blur+".y"), computetest.RefCorrelate(x, k, compute.Reflect), 1e-6, blur)
		near(t, at(blur+".adjoint_z"), computetest.RefCorrelateAdjoint(z, k, compute.Reflect), 1e-6, blur)
		near(t, at(blur+".circular_y"), computetest.RefCorrelate(x, k, compute.Circular), 1e-6, blur)
		near(t, at(blur+".circular_adjoint_z"), computetest.RefCorrelateAdjoint(z, k, compute.Circular), 1e-6, blur)
	}
	for _, sr := range []string{"sr2", "sr4", "sr8"} {
		m := at(sr + ".matrix")
		back := computetest.RefTranspose(m)
		near(t, at(sr+".y"), computetest.RefSeparable(x, m, m), 1e-6, sr)
		near(t, at(sr+".adjoint_z"), computetest.RefSeparable(at(sr+".z"), back, back), 1e-6, sr)
	}
}

func random(rng *rand.Rand, n, c, h, w int) computetest.Array {
	return computetest.NewArray(n, c, h, w).Map(func(float64) float64 { return rng.NormFloat64() })
}

func inner(a, b computetest.Array) (sum float64) {
	for _, v := range computetest.RefDot(a, b) {
		sum += v
	}
	return sum
}

func TestAdjointsTranspose(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	x, weight := random(rng, 2, 3, 5, 7), random(rng, 4, 3, 3, 3)
	y := random(rng, 2, 4, 5, 7)
	assert.InDelta(t, inner(y, computetest.RefConv(x, weight.V, nil, 4, 3)), inner(computetest.RefConvAdjoint(y, weight.V, 3, 3), x), 1e-10)
	for kind := compute.Up2; kind <= compute.ZeroInsert2; kind++ {
		in, out := random(rng, 2, 3, 4, 6), computetest.RefResample(random(rng, 2, 3, 4, 6), kind, 1)
		for i := range out.V {
			out.V[i] = rng.NormFloat64()
		}
		assert.InDelta(t, inner(out, computetest.RefResample(in, kind, 0.5)), inner(computetest.RefResample(out, kind.Adjoint(), 0.5), in), 1e-10)
	}
}

func TestConvolutionIsPaddedCrossCorrelation(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	x, weight, bias := random(rng, 1, 2, 4, 5), random(rng, 3, 2, 3, 3), random(rng, 1, 3, 1, 1)
	got := computetest.RefConv(x, weight.V, bias.V, 3, 3)
	// the definition, at a corner and inside
	for _, p := range [][2]int{{0, 0}, {3, 4}, {1, 2}} {
		for o := range 3 {
			want := bias.V[o]
			for i := range 2 {
				for k := range 9 {
					r, c := p[0]+k/3-1, p[1]+k%3-1
					if r >= 0 && r < 4 && c >= 0 && c < 5 {
						want += weight.Plane(o, i)[k] * x.Plane(0, i)[r*5+c]
					}
				}
			}
			assert.InDelta(t, want, got.Plane(0, o)[p[0]*5+p[1]], 1e-12)
		}
	}
}

func TestGroupNormNormalises(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	x := random(rng, 2, 6, 3, 5).Map(func(v float64) float64 { return 3*v + 2 })
	ones := []float64{1, 1, 1, 1, 1, 1}
	y, stats := computetest.RefGroupNorm(x, computetest.RefNorm{Groups: 2, Eps: 1e-5, Gamma: ones, Beta: make([]float64, 6)})
	assert.Equal(t, []int{2, 4}, []int{stats.N, stats.C})
	for n := range 2 {
		for g := range 2 {
			var sum, squares, mean float64
			for i, v := range y.Image(n)[g*45 : (g+1)*45] {
				sum += v
				squares += v * v
				mean += x.Image(n)[g*45+i] / 45
			}
			assert.InDelta(t, 0, sum, 1e-12)
			assert.InDelta(t, 45, squares, 1e-3)
			assert.InDelta(t, mean, stats.Image(n)[g], 1e-12)
			inverse := stats.Image(n)[2+g]
			assert.InDelta(t, 1, squares/45+1e-5*inverse*inverse, 1e-12)
		}
	}
}

func TestAttentionAverages(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	heads := compute.Heads{Count: 2}
	x := random(rng, 1, 12, 2, 3) // two heads of two channels: q0 k0 v0 q1 k1 v1
	y := computetest.RefAttention(x, heads)
	for pixel := range 6 { // the definition, for the second head's first channel
		var sum, weights float64
		for u := range 6 {
			var score float64
			for c := range 2 {
				score += x.Plane(0, 6+c)[pixel] * x.Plane(0, 8+c)[u] / math.Sqrt2
			}
			sum += math.Exp(score) * x.Plane(0, 10)[u]
			weights += math.Exp(score)
		}
		assert.InDelta(t, sum/weights, y.Plane(0, 2)[pixel], 1e-12)
	}
	split := x.Clone() // the same block in the other channel order
	for to, from := range []int{0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11} {
		copy(split.Plane(0, to), x.Plane(0, from))
	}
	near(t, y, computetest.RefAttention(split, compute.Heads{Count: 2, Split: true}), 1e-15)
}

// TestDifferencesAreExact holds the extrapolated differences against the closed
// forms of the scalar functions' derivatives, and those against the differences.
func TestDifferencesAreExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	x, a, b, ab := random(rng, 1, 3, 8, 8), random(rng, 2, 3, 8, 8), random(rng, 2, 3, 8, 8), random(rng, 2, 3, 8, 8)
	p := [3]float32{0.5, 0.25, 0.5}
	for f := range compute.MapFuncs {
		slope, bend := f.Scalar(1), f.Scalar(2)
		if bend == nil {
			continue // the clamp, whose slope jumps, and functions that nothing differentiates
		}
		value := func(x computetest.Array) computetest.Array {
			return x.Map(func(v float64) float64 { return f.Scalar(0)(v, &p) })
		}
		want1, want2 := a.Like(), a.Like()
		for i := range a.V {
			v := x.V[i%len(x.V)]
			want1.V[i] = slope(v, &p) * a.V[i]
			want2.V[i] = bend(v, &p)*a.V[i]*b.V[i] + slope(v, &p)*ab.V[i]
		}
		got1, uncertainty1 := computetest.RefTangent(value, x, a, 0.04)
		got2, uncertainty2 := computetest.RefSecond(value, x, a, b, ab, 0.04)
		near(t, want1, got1, 1e-10)
		near(t, want2, got2, 1e-9)
		assert.Less(t, max(uncertainty1, uncertainty2), 1e-8, "%v", f)

		_, coarse := computetest.RefSecond(value, x, a, b, ab, 3)
		assert.Greater(t, coarse, 1e-4, "%v: a step that is too long must be told", f)
	}
}
