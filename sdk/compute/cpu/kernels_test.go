package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vector runs a test on every kernel set that is not Go.
func vector(t *testing.T, test func(t *testing.T, k *kernels)) {
	if len(available()) == 1 {
		t.Skip("this processor has no vector kernels: only the Go functions run here")
	}
	for _, k := range available() {
		if k != generic {
			t.Run(k.name, func(t *testing.T) { test(t, k) })
		}
	}
}

// lengths reach every path of the vector loops: none, part, whole and several vectors.
var lengths = []int{1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 1000}

// like checks a slice against float32 values, with slack after it untouched.
func like(t *testing.T, want, got []float32, n int, bound float64, what ...any) {
	t.Helper()
	w := make([]float64, n)
	for i := range w {
		w[i] = float64(want[i])
	}
	near(t, w, got[:n], bound, what...)
	assert.Equal(t, want[n:], got[n:], "values beyond the end")
}

func TestTileIsItsTwin(t *testing.T) {
	vector(t, func(t *testing.T, k *kernels) {
		for _, outer := range []int{1, 2, 5, 33} {
			for _, offs := range [][]int{{0}, {0, 1, 2, 9, 10, 11, 18, 19, 20}, {3, 5}} {
				for nv := 1; nv <= 3; nv++ {
					const stride, ldc = 80, 55
					a, b := random(1, outer*len(offs)*8), random(2, outer*stride)
					want, got := random(3, 8*ldc), random(3, 8*ldc)
					for _, acc := range []bool{false, true} {
						generic.tile(want, ldc, a, b, outer, stride, offs, nv, acc)
						k.tile(got, ldc, a, b, outer, stride, offs, nv, acc)
						like(t, want, got, len(want), 1e-6, outer, offs, nv, acc)
					}
				}
			}
		}
	})
}

func TestVectorKernelsAreTheirTwins(t *testing.T) {
	vector(t, func(t *testing.T, k *kernels) {
		for _, n := range lengths {
			x, a, b, ab := random(1, n), random(2, n), random(3, n), random(4, n)
			c := random(5, 14)
			co := &act{c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11], c[12], c[13]}
			for name, run := range map[string]func(k *kernels, dst []float32){
				"up2":         func(k *kernels, dst []float32) { k.up2(dst[:n/2*2], x[:n/2], 0.3) },
				"down2":       func(k *kernels, dst []float32) { k.down2(dst[:n/2], a[:n/2*2], b[:n/2*2], 0.3) },
				"mul":         func(k *kernels, dst []float32) { k.mul(dst, a, b) },
				"fma":         func(k *kernels, dst []float32) { k.fma(dst, a, b) },
				"exp":         func(k *kernels, dst []float32) { k.exp(dst, x, 3, -1) },
				"affine":      func(k *kernels, dst []float32) { k.affine(dst, x, co) },
				"silu":        func(k *kernels, dst []float32) { k.silu(dst, x, co) },
				"linear":      func(k *kernels, dst []float32) { k.linear(dst, x, a, co, false) },
				"linear add":  func(k *kernels, dst []float32) { k.linear(dst, x, a, co, true) },
				"tangent":     func(k *kernels, dst []float32) { k.tangent(dst, x, a, co, false) },
				"tangent add": func(k *kernels, dst []float32) { k.tangent(dst, x, a, co, true) },
				"second":      func(k *kernels, dst []float32) { k.second(dst, x, a, b, ab, co) },
				"jet": func(k *kernels, dst []float32) {
					along := *co
					along.pb, along.qb, along.sb = co.p, co.q, co.s
					k.jet(make([]float32, len(dst)), dst, x, a, ab, &along)
				},
				"jet's first": func(k *kernels, dst []float32) { k.jet(dst, make([]float32, len(dst)), x, a, ab, co) },
			} {
				want, got := random(6, n+20), random(6, n+20)
				run(generic, want[:n])
				run(k, got[:n])
				like(t, want, got, n, 1e-6, name, n)
			}
			want, got, m := make([]float32, 8), make([]float32, 8), random(7, 8*n)
			generic.panel(want, m, x)
			k.panel(got, m, x)
			for r := range want {
				assert.InDelta(t, want[r], got[r], 1e-6*float64(n), "panel of %d", n)
			}
			assert.InDelta(t, generic.sum(x), k.sum(x), 1e-6*float64(n), "sum of %d", n)
			for name, run := range map[string]func(k *kernels, s *[3]float32){
				"sums": func(k *kernels, s *[3]float32) { k.sums(s, x, a) },
				"dots": func(k *kernels, s *[3]float32) { k.dots(s, x, a, b, &[3]float32{0.5, -2, 1}) },
			} {
				var want, got [3]float32
				run(generic, &want)
				run(k, &got)
				for i := range want {
					assert.InDelta(t, want[i], got[i], 1e-5*float64(n), "%s of %d", name, n)
				}
			}
			assert.InDelta(t, generic.cdot(x, a, 0.5, -2), k.cdot(x, a, 0.5, -2), 1e-5*float64(n), "cdot of %d", n)
		}
	})
}

func TestColumnKernelsAreTheirTwins(t *testing.T) {
	vector(t, func(t *testing.T, k *kernels) {
		for _, rows := range []int{1, 2, 5, 36} {
			for _, ld := range []int{16, 32, 48} {
				size := rows * ld
				want, got, p := random(1, size+9), random(1, size+9), random(2, size)
				stat, other := make([]float32, 2*ld), make([]float32, 2*ld)
				generic.softmax(want, stat, stat[ld:], rows, ld)
				k.softmax(got, other, other[ld:], rows, ld)
				like(t, want, got, size, 1e-6, rows, ld)
				like(t, stat, other, 2*ld, 1e-6, rows, ld)
				generic.centre(want, p, stat, rows, ld)
				k.centre(got, p, other, rows, ld)
				like(t, want, got, size, 1e-6, rows, ld)
				like(t, stat[:ld], other[:ld], ld, 1e-5, rows, ld)
			}
		}
	})
}

// Every exp is within 2 units in the last place where the result is a normal
// number, saturates outside, and keeps a NaN.
func TestExpIsAccurateAndSaturates(t *testing.T) {
	for _, k := range available() {
		var x []float32
		for v := float32(-87.3); v < 88.3; v += 0.0137 {
			x = append(x, v)
		}
		y := make([]float32, len(x))
		k.exp(y, x, 1, 0)
		for i, v := range x {
			want := math.Exp(float64(v))
			unit := float64(math.Nextafter32(float32(want), math.MaxFloat32) - float32(want))
			require.LessOrEqual(t, math.Abs(float64(y[i])-want)/unit, 2.0, "%s: exp(%v)", k.name, v)
		}
		inf := float32(math.Inf(1))
		x = []float32{1e4, -1e4, inf, -inf, float32(math.NaN()), 0}
		y = make([]float32, len(x))
		k.exp(y, x, 1, 0)
		assert.Greater(t, y[0], float32(1e38), k.name)
		assert.Equal(t, y[0], y[2], k.name)
		assert.LessOrEqual(t, y[1], float32(2e-38), k.name)
		assert.Equal(t, y[1], y[3], k.name)
		assert.False(t, math.IsInf(float64(y[0]), 0), k.name)
		assert.True(t, math.IsNaN(float64(y[4])), k.name)
		assert.Equal(t, float32(1), y[5], k.name)
	}
}

func TestOpenNamesWhatCanBeHad(t *testing.T) {
	t.Setenv("CMI_CPU", "mmx")
	_, err := Open(1)
	assert.ErrorContains(t, err, "CMI_CPU=mmx")
	assert.ErrorContains(t, err, "generic")
	assert.Equal(t, available()[0], New(1).k, "New falls back to the best")
	t.Setenv("CMI_CPU", "generic")
	d, err := Open(1)
	require.NoError(t, err)
	assert.Contains(t, d.Info().Description, "generic")
	t.Setenv("CMI_CPU", "")
	d, err = Open(0)
	require.NoError(t, err)
	assert.Equal(t, available()[0], d.k)
	t.Setenv("CMI_WINOGRAD", "foo")
	_, err = Open(1)
	assert.EqualError(t, err, "cpu: CMI_WINOGRAD=foo: want on or off")
}

// Results are the same bits on any number of threads.
func TestThreadsDoNotChangeResults(t *testing.T) {
	for _, k := range available() {
		var first []string
		for _, threads := range []int{1, 2, 5} {
			d := newDevice(threads, k)
			var results []string
			for _, r := range everything(t, d) {
				results = append(results, fmt.Sprint(r))
			}
			if first == nil {
				first = results
			}
			assert.Equal(t, first, results, "%s, %d threads", k.name, threads)
			require.NoError(t, d.Close())
		}
	}
}

// everything returns the results of one call of the kernels that sum.
func everything(t *testing.T, d *Device) (results [][]float32) {
	const c, h, w = 12, 20, 13
	x, a := view(t, d, random(1, 2*c*h*w), 2, c, h, w), view(t, d, random(2, 2*c*h*w), 2, c, h, w)
	like := func(c int) compute.Tensor { return empty(t, d, 2, c, h, w) }
	keep := func(x compute.Tensor) compute.Tensor { results = append(results, values(t, d, x)); return x }
	for _, kernel := range []int{1, 3} {
		s := compute.ConvShape{Out: 18, In: c, Kernel: kernel}
		weights, err := d.PrepareConv(s, random(3, s.Out*s.In*kernel*kernel), random(4, s.Out))
		require.NoError(t, err)
		y := like(s.Out)
		d.Conv(y, x, weights, compute.ConvMode{Bias: true})
		back := like(c)
		d.Conv(back, keep(y), weights, compute.ConvMode{Adjoint: true})
		keep(back)
	}
	gamma := view(t, d, random(5, c), 1, c, 1, 1)
	p := compute.Norm{Groups: 3, Eps: 1e-5, Gamma: gamma, Beta: gamma, SiLU: true}
	stats, y := empty(t, d, 2, 6, 1, 1), like(c)
	d.GroupNorm(y, x, stats, p)
	keep(y)
	d.GroupNormTangent(y, x, stats, a, p)
	keep(y)
	d.GroupNormAdjoint(y, x, stats, a, p, false)
	keep(y)
	d.GroupNormSecond(y, x, stats, a, a, x, p)
	keep(y)
	heads := compute.Heads{Count: 2}
	o := like(c / 3)
	d.Attention(o, x, heads)
	keep(o)
	d.AttentionSecond(o, x, a, a, x, heads)
	keep(o)
	d.AttentionAdjoint(y, x, o, heads, false)
	keep(y)
	d.Correlate(y, x, view(t, d, random(6, 35), 1, 1, 5, 7), compute.Reflect, true)
	keep(y)
	dots, err := compute.Dot(d, x, a)
	require.NoError(t, err)
	return append(results, []float32{float32(dots[0]), float32(dots[1])})
}
