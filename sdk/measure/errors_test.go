package measure_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

func TestConstructorErrors(t *testing.T) {
	dev := device(t)
	rng := seeded()
	kernel := func(h, w int, weights ...float64) measure.Kernel { return measure.Kernel{H: h, W: w, Weights: weights} }
	blur := func(size int, k measure.Kernel, border compute.Border) func() (measure.Operator, error) {
		return func() (measure.Operator, error) { return measure.NewBlur(dev, 1, size, size, k, border) }
	}
	maskOf := func(keep ...float32) func() (measure.Operator, error) {
		return func() (measure.Operator, error) { return measure.NewMask(dev, 3, 1, 2, keep) }
	}
	superResolution := func(h, w, factor int) func() (measure.Operator, error) {
		return func() (measure.Operator, error) { return measure.NewSuperResolution(dev, 3, h, w, factor) }
	}
	dense := func(a mat.Matrix) func() (measure.Operator, error) {
		return func() (measure.Operator, error) { return measure.NewDense(dev, a) }
	}
	for says, build := range map[string]func() (measure.Operator, error){
		"a mask of 3 values for images of 1×2, 2 are wanted": maskOf(1, 0, 1),
		"mask value 1 is 0.5":                    maskOf(1, 0.5),
		"mask value 0 is NaN":                    maskOf(float32(math.NaN()), 1),
		"the mask keeps no pixel":                maskOf(0, 0),
		"images of 0×4×4":                        func() (measure.Operator, error) { return measure.NewIdentity(dev, 0, 4, 4) },
		"images of 3×-1×4":                       func() (measure.Operator, error) { return measure.NewMask(dev, 3, -1, 4, nil) },
		"super-resolution by 4 of images of 6×8": superResolution(6, 8, 4),
		"super-resolution by 1":                  superResolution(8, 8, 1),
		"super-resolution by 0":                  superResolution(8, 8, 0),
		"a blur kernel of 2×1 with 2":            blur(8, kernel(2, 1, 1, 1), compute.Reflect),
		"a blur kernel of 3×1 with 2":            blur(8, kernel(3, 1, 1, 1), compute.Reflect),
		"is too large to reflect images of 2×2":  blur(2, kernel(5, 1, 1, 1, 1, 1, 1), compute.Reflect),
		"blur kernel weight 1 is NaN":            blur(8, kernel(3, 1, 1, math.NaN(), 1), compute.Circular),
		"blur kernel weight 2 is +Inf":           blur(8, kernel(3, 1, 1, 1, math.Inf(1)), compute.Circular),
		"the blur kernel is zero":                blur(8, kernel(1, 1, 0), compute.Circular),
		"unknown border 7":                       blur(8, kernel(1, 1, 1), compute.Border(7)),
		"A is zero":                              dense(mat.NewDense(2, 3, nil)),
		"row 1 of the matrix has the value NaN":  dense(mat.NewDense(2, 1, []float64{1, math.NaN()})),
		"a matrix of 5000×1":                     dense(mat.NewDense(5000, 1, nil)),
		`unknown task "deblur": known are sr4, sr2, sr8, inpaint, box, mask, blur, motion, kernel, matrix, pool4, pool2, pool8, colourise, denoise, phase`: func() (measure.Operator, error) {
			return measure.ForTask("deblur", dev, 3, 8, 8, measure.Inputs{Rand: rng})
		},
		"by 3 of images of 8×8: a factor": func() (measure.Operator, error) { return measure.NewPool(dev, 3, 8, 8, 3) },
		"images with 1 channels, 3 (red":  func() (measure.Operator, error) { return measure.NewLuma(dev, 1, 8, 8) },
		"blur gives 1×8×8, denoise after it wants 1×5×4": func() (measure.Operator, error) {
			outer, err := measure.NewIdentity(dev, 1, 5, 4)
			require.NoError(t, err)
			return measure.Compose(dev, outer, blurOf(t, dev, lopsided(3)))
		},
		"mask+mask: the operator A is zero": func() (measure.Operator, error) {
			keep := make([]float32, 64)
			keep[0] = 1
			corner, err := measure.NewMask(dev, 1, 8, 8, keep)
			require.NoError(t, err)
			return measure.Compose(dev, corner, partialMask(t, dev))
		},
		"task sr8: super-resolution by 8 of images of 12×12": func() (measure.Operator, error) {
			return measure.ForTask("sr8", dev, 3, 12, 12, measure.Inputs{Rand: rng})
		},
	} {
		op, err := build()
		assert.Nil(t, op, says)
		if assert.Error(t, err, says) {
			assert.Contains(t, err.Error(), says)
			assert.NotContains(t, err.Error(), "\n")
		}
	}
	_, err := measure.GaussianKernel(4, 1)
	assert.ErrorContains(t, err, "odd size")
	_, err = measure.GaussianKernel(5, math.NaN())
	assert.ErrorContains(t, err, "NaN")
	for _, fraction := range []float64{-0.1, 1, math.NaN()} {
		_, err = measure.RandomMask(8, 8, fraction, rng)
		assert.ErrorContains(t, err, "of the pixels missing")
	}
	for _, size := range []int{0, 15, 16, 99} {
		_, err = measure.BoxMask(16, 16, size, rng)
		assert.ErrorContains(t, err, "does not fit")
	}
}

func TestMaskBuilders(t *testing.T) {
	keep, err := measure.RandomMask(64, 64, 0.9, seeded())
	require.NoError(t, err)
	zeros := len(keep) - int(sum(keep))
	assert.Equal(t, 3686, zeros, "⌊0.9 · 4096⌋ without replacement")
	again, err := measure.RandomMask(64, 64, 0.9, seeded())
	require.NoError(t, err)
	assert.Equal(t, keep, again)
	full, err := measure.RandomMask(3, 5, 0, seeded())
	require.NoError(t, err)
	assert.EqualValues(t, 15, sum(full))

	rng := seeded()
	var tops, lefts []int
	for range 500 {
		box, err := measure.BoxMask(64, 64, 32, rng)
		require.NoError(t, err)
		first := slices.Index(box, 0)
		top, left := first/64, first%64
		wrong := 0
		for i, v := range box {
			y, x := i/64-top, i%64-left
			if inside := y >= 0 && y < 32 && x >= 0 && x < 32; inside != (v == 0) {
				wrong++
			}
		}
		require.Zero(t, wrong, "pixels of a box at %d, %d", top, left)
		tops, lefts = append(tops, top), append(lefts, left)
	}
	for _, places := range [][]int{tops, lefts} { // [16, 112) of 256 scaled to 64
		assert.Equal(t, 4, slices.Min(places))
		assert.Equal(t, 27, slices.Max(places))
	}
}

func sum(values []float32) (s float32) {
	for _, v := range values {
		s += v
	}
	return s
}

// Every task at several sizes: a working operator with the promised name.
func TestTasks(t *testing.T) {
	dev := device(t)
	kernel, err := measure.GaussianKernel(5, 1)
	require.NoError(t, err)
	for _, task := range measure.Tasks {
		for _, size := range []int{16, 64} {
			in := measure.Inputs{Rand: seeded(), Kernel: &kernel, Mask: make([]float32, size*size)}
			in.Mask[3] = 1
			in.Matrix, err = measure.NewSparse(1, size*size, []int{0}, []int{3}, []float64{1})
			require.NoError(t, err)
			op, err := measure.ForTask(task.Name, dev, 3, size, size, in)
			require.NoError(t, err)
			assert.Equal(t, task.Name, op.Name())
			assert.NotEmpty(t, task.Description)
			if a, linear := op.(measure.Linear); linear && task.Name != "motion" {
				assert.True(t, measure.Exact(a), "%s has a spectral form", task.Name)
			}
			c, h, w := op.In()
			assert.Equal(t, [3]int{3, size, size}, [3]int{c, h, w})
			op.Close()
		}
		_, err := measure.ForTask(task.Name, dev, 3, 16, 16, measure.Inputs{Rand: seeded()})
		if task.Input != "" && task.Draw == nil {
			assert.EqualError(t, err, "task "+task.Name+": it needs its "+task.Input)
		} else {
			assert.NoError(t, err)
		}
	}
	op, err := measure.ForTask("inpaint", dev, 3, 64, 64, measure.Inputs{Rand: seeded()})
	require.NoError(t, err)
	defer op.Close()
	assert.Equal(t, 3*(4096-3686), op.(measure.Linear).Measured())
}

// Tasks draw the same from the same random numbers, others from others, and what they have
// drawn makes the same operator again.
func TestDrawnInputs(t *testing.T) {
	dev := device(t)
	x := make([]float32, 3*32*32)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	for _, task := range measure.Tasks {
		if task.Draw == nil {
			continue
		}
		measured := func(in measure.Inputs) []float32 {
			op, err := measure.ForTask(task.Name, dev, 3, 32, 32, in)
			require.NoError(t, err)
			defer op.Close()
			c, h, w := op.Out()
			y, err := measure.Measure(dev, op, x, make([]float32, c*h*w), 0)
			require.NoError(t, err)
			return y
		}
		rng := func(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
		one := measured(measure.Inputs{Rand: rng(1)})
		assert.NotEqual(t, one, measured(measure.Inputs{Rand: rng(2)}), task.Name)
		drawn, err := task.Complete(32, 32, measure.Inputs{Rand: rng(1)})
		require.NoError(t, err)
		assert.Equal(t, one, measured(drawn), task.Name)
	}
}

// At 64 pixels the blur task is 15×15 with standard deviation 1.25, at 256 61×61
// with 5: an impulse in the middle shows the kernel.
func TestBlurTaskKernel(t *testing.T) {
	dev := device(t)
	op, err := measure.ForTask("blur", dev, 1, 64, 64, measure.Inputs{})
	require.NoError(t, err)
	defer op.Close()
	impulse := make([]float32, 64*64)
	impulse[32*64+32] = 1
	y, err := measure.Measure(dev, op, impulse, make([]float32, 64*64), 0)
	require.NoError(t, err)
	kernel, err := measure.GaussianKernel(15, 1.25)
	require.NoError(t, err)
	for i, v := range kernel.Weights {
		assert.InDelta(t, v, y[(25+i/15)*64+25+i%15], 1e-7)
	}
}

// The motion task has the kernel of the size and the draw, reflected at the border.
func TestMotionTaskKernel(t *testing.T) {
	dev := device(t)
	op, err := measure.ForTask("motion", dev, 1, 64, 64, measure.Inputs{Rand: seeded()})
	require.NoError(t, err)
	defer op.Close()
	impulse := make([]float32, 64*64)
	impulse[32*64+32] = 1
	y, err := measure.Measure(dev, op, impulse, make([]float32, 64*64), 0)
	require.NoError(t, err)
	kernel, err := measure.MotionKernel(15, 0.5, seeded())
	require.NoError(t, err)
	for i, v := range kernel.Weights { // a correlation shows its kernel upside down
		assert.InDelta(t, v, y[(39-i/15)*64+39-i%15], 1e-7)
	}
}

// y = A x + σ n, zero where nothing is measured, whatever the noise there.
func TestMeasure(t *testing.T) {
	dev := device(t)
	op, err := measure.NewMask(dev, 2, 2, 2, []float32{1, 0, 0, 1})
	require.NoError(t, err)
	defer op.Close()
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8}
	noise := make([]float32, len(x))
	for i := range noise {
		noise[i] = 2
	}
	y, err := measure.Measure(dev, op, x, noise, 0.25)
	require.NoError(t, err)
	assert.Equal(t, []float32{1.5, 0, 0, 4.5, 5.5, 0, 0, 8.5, -0.5, 0, 0, -3.5, -4.5, 0, 0, -7.5}, y)

	_, err = measure.Measure(dev, op, x[:9], noise, 0.25)
	assert.ErrorContains(t, err, "9 image values and 16 noise values")
	_, err = measure.Measure(dev, op, nil, nil, 0.25)
	assert.ErrorContains(t, err, "0 image values")
	_, err = measure.Measure(dev, op, x, noise, math.NaN())
	assert.ErrorContains(t, err, "noise is NaN")
}

// A probe is ±1 with covariance I on the measured coordinates, so the mean of
// |P^(−½) z|² over probes is the trace of P⁻¹.
func TestPowerWhitens(t *testing.T) {
	dev := device(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for name, op := range operators(t, dev) {
		if !measure.Exact(op) {
			continue
		}
		s := spectrumOf(t, dev, op)
		trace := 0.0
		for _, e := range s.values {
			trace += 1 / (0.5*max(e, 0) + 0.1)
		}
		const n = 2000
		z, values := random(dev, rng, n, op.Out)
		for i, v := range values {
			values[i] = float32(math.Copysign(1, float64(v)))
		}
		dev.Write(z, values)
		measure.Power(op, z, z, 0.5, 0.1, -0.5)
		squares, err := compute.Dot(dev, z, z)
		require.NoError(t, err)
		mean := 0.0
		for _, v := range squares {
			mean += v / n
		}
		assert.InEpsilon(t, trace, mean, 0.05, name)
	}
}
