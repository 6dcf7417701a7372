//go:build js

package wgsl_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall/js"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/browser"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

// TestOnDawn runs these tests: the kernels for drivers that take f16 and subgroups.

// watched is an adapter that keeps which kernels were compiled.
type watched struct {
	webgpu.GPU
	kernels map[string]bool
}

func (w watched) CreatePipeline(label, wgsl, entry string, b []webgpu.Binding) (webgpu.Pipeline, error) {
	kernel, _, _ := strings.Cut(label, " ")
	w.kernels[kernel] = true
	return w.GPU.CreatePipeline(label, wgsl, entry, b)
}

// open returns a device on Dawn's adapter.
func open(t *testing.T, o wgsl.Options) (*wgsl.Device, watched) {
	t.Helper()
	gpu := watched{browser.New(js.Global().Get("gpuForTests").Call("again")), map[string]bool{}}
	d, err := wgsl.New(gpu, o)
	if o.Precision == wgsl.F16 && !gpu.Info().F16 {
		require.ErrorContains(t, err, "f16")
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d, gpu
}

// only keeps the cases of some groups, named by how they begin.
func only(cases []computetest.Case, groups ...string) []computetest.Case {
	return slices.DeleteFunc(cases, func(c computetest.Case) bool {
		return !slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(c.Group, g) })
	})
}

// Sums by subgroups keep the suite's bounds, those of the CPU.
func TestSubgroups(t *testing.T) {
	d, gpu := open(t, wgsl.Options{})
	if !gpu.Info().Subgroups {
		t.Skip("the adapter has no subgroups")
	}
	devicetest.Cases(t, d, only(computetest.Ops(false), "groupnorm", "dot"))
	for _, k := range []string{"groupnorm_subgroups.group_stats", "groupnorm_subgroups.group_means", "dot_subgroups.dot_slices"} {
		assert.Contains(t, gpu.kernels, k)
	}
	for _, k := range []string{"groupnorm_sums.group_stats", "groupnorm_sums.group_means", "dot.dot_slices"} {
		assert.NotContains(t, gpu.kernels, k)
	}
	if testing.Short() {
		return
	}
	devicetest.Cases(t, d, computetest.Networks(true))
	picture, want := restored(t, d), ofProcessor(t)
	t.Logf("PSNR to the processor's picture after 100 steps: %.0f dB", psnr(want, picture))
	assert.GreaterOrEqual(t, psnr(want, picture), 60.0)
}

// Groups of more slices than a workgroup has invocations, which the suite has not: the
// processor's values and derivatives, and an image's bits do not depend on those beside it.
func TestSubgroupsOnManySlices(t *testing.T) {
	d, gpu := open(t, wgsl.Options{})
	if !gpu.Info().Subgroups {
		t.Skip("the adapter has no subgroups")
	}
	const images, channels, side, groups, each = 3, 32, 48, 4, 32 * 48 * 48
	r := rand.New(rand.NewPCG(3, 4))
	var inputs [4][]float32
	for i := range inputs {
		inputs[i] = make([]float32, images*each)
		for j := range inputs[i] {
			inputs[i][j] = float32(r.NormFloat64())
		}
	}
	results := func(d compute.Device, n int) (dots []float64, arrays [][]float32) {
		ws := compute.NewWorkspace(d)
		defer ws.Free()
		like := func() compute.Tensor { return ws.New(n, channels, side, side) }
		x, a, b, ab, stats := like(), like(), like(), like(), ws.New(n, 2*groups, 1, 1)
		value, adjoint, tangent, second := like(), like(), like(), like()
		gamma, beta := ws.New(1, channels, 1, 1), ws.New(1, channels, 1, 1)
		require.NoError(t, ws.Err())
		for i, t := range []compute.Tensor{x, a, b, ab} {
			d.Write(t, inputs[i][:n*each])
		}
		d.Write(gamma, inputs[1][:channels])
		d.Write(beta, inputs[2][:channels])
		p := compute.Norm{Groups: groups, Eps: 1e-5, Gamma: gamma, Beta: beta, SiLU: true}
		d.GroupNorm(value, x, stats, p)
		d.GroupNormAdjoint(adjoint, x, stats, a, p, false)
		d.GroupNormTangent(tangent, x, stats, a, p)
		d.GroupNormSecond(second, x, stats, a, b, ab, p)
		dots, err := compute.Dot(d, x, value)
		require.NoError(t, err)
		for _, a := range []compute.Tensor{stats, value, adjoint, tangent, second} {
			host, err := compute.ToHost(d, a)
			require.NoError(t, err)
			arrays = append(arrays, host)
		}
		return dots, arrays
	}
	dots, together := results(d, images)
	wantDots, want := results(processor(t), images)
	for n := range dots {
		assert.InEpsilon(t, wantDots[n], dots[n], 1e-6)
	}
	for i := range want {
		assert.Less(t, difference(want[i], together[i]), 1e-6, "array %d", i)
	}
	first, alone := results(d, 1)
	assert.Equal(t, dots[0], first[0])
	for i := range alone {
		assert.True(t, slices.Equal(together[i][:len(alone[i])], alone[i]), "array %d", i)
	}
}

// BenchmarkSums times normalisations and inner products as the embedded prior has them,
// with sums by subgroups and without.
func BenchmarkSums(b *testing.B) {
	for _, c := range []struct {
		name           string
		channels, side int
	}{{"64 channels of 64×64", 64, 64}, {"256 channels of 16×16", 256, 16}} {
		for _, subgroups := range []string{"on", "off"} {
			b.Run(c.name+", subgroups "+subgroups, func(b *testing.B) {
				b.Setenv("CMI_SUBGROUPS", subgroups)
				d, err := wgsl.New(browser.New(js.Global().Get("gpuForTests").Call("again")), wgsl.Options{})
				require.NoError(b, err)
				defer d.Close()
				ws := compute.NewWorkspace(d)
				defer ws.Free()
				x, y, stats := ws.New(1, c.channels, c.side, c.side), ws.New(1, c.channels, c.side, c.side), ws.New(1, 64, 1, 1)
				gamma := ws.New(1, c.channels, 1, 1)
				require.NoError(b, ws.Err())
				d.Write(x, make([]float32, x.Len()))
				d.Write(gamma, make([]float32, gamma.Len()))
				p := compute.Norm{Groups: 32, Eps: 1e-5, Gamma: gamma, Beta: gamma, SiLU: true}
				run := func() {
					for range 20 {
						d.GroupNorm(y, x, stats, p)
						d.GroupNormAdjoint(y, x, stats, x, p, false)
					}
					_, err := compute.Dot(d, x, y)
					require.NoError(b, err)
				}
				run() // compiles
				for b.Loop() {
					run()
				}
			})
		}
	}
}

// difference returns ‖a − b‖/‖a‖.
func difference(a, b []float32) float64 {
	above, below := 0.0, 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		above, below = above+d*d, below+float64(a[i])*float64(a[i])
	}
	return math.Sqrt(above / below)
}

// The convolutions in f16 keep the bounds of their rounding, 2⁻¹¹, and so do networks of
// them, and the information term.
func TestF16(t *testing.T) {
	d, gpu := open(t, wgsl.Options{Precision: wgsl.F16})
	assert.Equal(t, "f16", js.Global().Get("gpuForTests").Get("info").Get("precision").String())
	assert.Equal(t, 0x1p-11, d.Info().Rounding)
	vectors, err := golden.Cases(os.DirFS("../../testdata/golden"), golden.Options{Quick: true})
	require.NoError(t, err)
	cases := append(only(computetest.Ops(true), "conv"), computetest.Networks(true)...)
	cases = append(cases, only(vectors, "unet", "information")...)
	devicetest.Cases(t, d, computetest.Rounded(cases, d.Info()))
	for _, k := range []string{"conv_tiled_f16.tiled3", "conv_tiled_f16.tiled1"} {
		assert.Contains(t, gpu.kernels, k)
	}
	// Rounding is not hidden by bounds: those of float32 are not kept.
	failed := 0
	for _, c := range cases {
		if c.Group == "conv" {
			_, n, _ := computetest.Run(t.Context(), d, []computetest.Case{c}, nil)
			failed += n
		}
	}
	assert.NotZero(t, failed)
	t.Run("range", func(t *testing.T) { f16Range(t, d) }) // on the same device: it has compiled
	picture, want := restored(t, d), ofProcessor(t)
	t.Logf("PSNR to the processor's picture after 100 steps: %.0f dB", psnr(want, picture))
	assert.GreaterOrEqual(t, psnr(want, picture), 50.0)
}

// f16Range: values far from 1 lose nothing in f16, an image's and a layer's scale are
// taken out. An image's result does not depend on those beside it.
func f16Range(t *testing.T, d *wgsl.Device) {
	const in, out, side = 5, 7, 6
	r := rand.New(rand.NewPCG(1, 2))
	normals := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	for _, kernel := range []int{1, 3} {
		weight, image := normals(out*in*kernel*kernel), normals(in*side*side)
		conv := func(scale float32, factors ...float32) [][]float32 {
			scaled := make([]float32, len(weight))
			for i, v := range weight {
				scaled[i] = v * scale
			}
			w, err := d.PrepareConv(compute.ConvShape{Out: out, In: in, Kernel: kernel}, scaled, nil)
			require.NoError(t, err)
			defer w.Free()
			ws := compute.NewWorkspace(d)
			defer ws.Free()
			x, y := ws.New(len(factors), in, side, side), ws.New(len(factors), out, side, side)
			require.NoError(t, ws.Err())
			var data []float32
			for _, f := range factors {
				for _, v := range image {
					data = append(data, f*v)
				}
			}
			d.Write(x, data)
			d.Conv(y, x, w, compute.ConvMode{})
			got := make([]float32, y.N*y.Len())
			require.NoError(t, d.Read(got, y))
			images := make([][]float32, len(factors))
			for i := range images {
				images[i] = got[i*y.Len():][:y.Len()]
			}
			return images
		}
		want := conv(1, 1)[0]
		for _, c := range []struct{ weights, pixels float32 }{{1, 0x1p40}, {0x1p-60, 0x1p20}, {0x1p50, 0x1p-90}, {1, 0x1p-100}} {
			t.Run(fmt.Sprintf("k%d/%g×%g", kernel, c.weights, c.pixels), func(t *testing.T) {
				for i, factor := range []float32{c.pixels, 1} {
					got := conv(c.weights, c.pixels, 1)[i]
					for j, v := range got {
						require.Equal(t, want[j]*c.weights*factor, v, "image %d, value %d", i, j)
					}
				}
			})
		}
		zero := conv(1, 0)[0]
		assert.Equal(t, make([]float32, len(zero)), zero)
		for _, v := range conv(1, float32(math.NaN()), 1)[0] {
			assert.True(t, math.IsNaN(float64(v)), "a NaN is not hidden")
		}
	}
}

func processor(t *testing.T) compute.Device {
	d, err := cpu.Open(0)
	require.NoError(t, err)
	return d
}

// ofProcessor returns the processor's picture, made once.
func ofProcessor(t *testing.T) []float32 {
	if wanted == nil {
		wanted = restored(t, processor(t))
	}
	return wanted
}

var wanted []float32

// restored returns a picture of the trained 16×16 network after 100 steps of DPS.
func restored(t *testing.T, d compute.Device) []float32 {
	t.Helper()
	s := tiny16(t, d, 100, func(i int) float32 { return float32(math.Sin(float64(i))) })
	picture, err := s.Run(t.Context())
	require.NoError(t, err)
	return picture
}

// psnr is of values in [−1, 1], in decibels.
func psnr(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return 10 * math.Log10(4*float64(len(a))/sum)
}
