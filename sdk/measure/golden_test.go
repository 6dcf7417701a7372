package measure_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

const goldenBound = 1e-6 // ‖got − ref‖/‖ref‖

func golden(t *testing.T, path string) *checkpoint.File {
	t.Helper()
	f, err := checkpoint.Open("../../testdata/golden/" + path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func floats(t *testing.T, f *checkpoint.File, name string) []float64 {
	t.Helper()
	values, err := f.Floats(name)
	require.NoError(t, err)
	return wide(values)
}

func wide(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

func tensor(t *testing.T, dev compute.Device, f *checkpoint.File, name string, n int, shape func() (c, h, w int)) compute.Tensor {
	t.Helper()
	values, err := f.Floats(name)
	require.NoError(t, err)
	c, h, w := shape()
	x, err := compute.FromHost(dev, values, n, c, h, w)
	require.NoError(t, err)
	return x
}

func goldenKernel(t *testing.T, f *checkpoint.File, name string) measure.Kernel {
	t.Helper()
	weights := floats(t, f, name)
	size := int(math.Sqrt(float64(len(weights))))
	return measure.Kernel{H: size, W: size, Weights: weights}
}

func TestGoldenOperators(t *testing.T) {
	dev := device(t)
	f := golden(t, "operators.safetensors")
	check := func(op measure.Linear, err error, y, adjoint, z string) {
		require.NoError(t, err, y)
		defer op.Close()
		got, back := poisoned(dev, 1, op.Out), poisoned(dev, 1, op.In)
		op.Apply(got, tensor(t, dev, f, "x", 1, op.In))
		op.Adjoint(back, tensor(t, dev, f, z, 1, op.Out))
		assert.LessOrEqual(t, relative(read(t, dev, got), floats(t, f, y)), goldenBound, y)
		assert.LessOrEqual(t, relative(read(t, dev, back), floats(t, f, adjoint)), goldenBound, adjoint)
	}
	for _, factor := range []int{2, 4, 8} {
		name := "sr" + strconv.Itoa(factor) + "."
		op, err := measure.NewSuperResolution(dev, 3, 64, 64, factor)
		check(op, err, name+"y", name+"adjoint_z", name+"z")
	}
	for _, name := range []string{"gaussian.", "motion."} {
		kernel := goldenKernel(t, f, name+"kernel")
		op, err := measure.NewBlur(dev, 3, 64, 64, kernel, compute.Reflect)
		check(op, err, name+"y", name+"adjoint_z", name+"z")
		op, err = measure.NewBlur(dev, 3, 64, 64, kernel, compute.Circular)
		check(op, err, name+"circular_y", name+"circular_adjoint_z", name+"z")
	}
}

// The one-dimensional matrices of super-resolution, read off its action on lines.
func TestGoldenSuperResolutionMatrix(t *testing.T) {
	dev := device(t)
	f := golden(t, "operators.safetensors")
	for _, factor := range []int{2, 4, 8} {
		op, err := measure.NewSuperResolution(dev, 1, 64, 64, factor)
		require.NoError(t, err)
		unit := make([]float32, 64*64*64) // image n: row n is one, so that every output row is column n of D
		for n := range 64 {
			for x := range 64 {
				unit[n*64*64+n*64+x] = 1
			}
		}
		x, err := compute.FromHost(dev, unit, 64, 1, 64, 64)
		require.NoError(t, err)
		y := poisoned(dev, 64, op.Out)
		op.Apply(y, x)
		got, small := read(t, dev, y), 64/factor
		matrix := make([]float64, small*64)
		for n := range 64 {
			for o := range small {
				matrix[o*64+n] = got[n*small*small+o*small]
			}
		}
		assert.LessOrEqual(t, relative(matrix, floats(t, f, "sr"+strconv.Itoa(factor)+".matrix")), goldenBound)
		op.Close()
	}
}

func TestGaussianKernelGolden(t *testing.T) {
	kernel, err := measure.GaussianKernel(61, 3)
	require.NoError(t, err)
	want := floats(t, golden(t, "operators.safetensors"), "gaussian.kernel")
	assert.LessOrEqual(t, relative(kernel.Weights, want), 1e-7)
	assert.InDelta(t, 0.017684887, kernel.Weights[30*61+30], 5e-10)
	for i, v := range kernel.Weights {
		y, x := i/61, i%61
		assert.Equal(t, y >= 18 && y <= 42 && x >= 18 && x <= 42, v != 0, "support at %d, %d", y, x)
	}
}

// v.k0 = Aᵀ P^(−½) z of the recorded probes: Power inside the method's own use.
func TestGoldenProbeDirection(t *testing.T) {
	dev := device(t)
	schedule := golden(t, "schedule.safetensors")
	for _, task := range []string{"inpaint", "sr4", "blur"} {
		f := golden(t, "information/"+task+".safetensors")
		var op measure.Linear
		var err error
		switch task {
		case "inpaint":
			mask, err := f.Floats("mask")
			require.NoError(t, err)
			op, err = measure.NewMask(dev, 3, 16, 16, mask)
			require.NoError(t, err)
		case "sr4":
			op, err = measure.NewSuperResolution(dev, 3, 16, 16, 4)
		case "blur":
			op, err = measure.NewBlur(dev, 3, 16, 16, goldenKernel(t, f, "kernel"), compute.Circular)
		}
		require.NoError(t, err)
		index, err := f.Ints("index")
		require.NoError(t, err)
		alphaBar := floats64(t, schedule, "linear.20.alpha_bar")[index[0]]
		z := tensor(t, dev, f, "z", 2, op.Out)
		v := poisoned(dev, 2, op.In)
		measure.Power(op, z, z, 1-alphaBar, 0.05*0.05, -0.5)
		op.Adjoint(v, z)
		assert.LessOrEqual(t, relative(read(t, dev, v), floats(t, f, "v.k0")), 5e-6, task)
		op.Close()
	}
}

func floats64(t *testing.T, f *checkpoint.File, name string) []float64 {
	t.Helper()
	values, err := f.Float64s(name)
	require.NoError(t, err)
	return values
}
