package measure_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// The operators that the tests run over, and their dense matrices as the referee.

func device(t *testing.T) compute.Device {
	t.Helper()
	dev := cpu.New(0)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return dev
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// lopsided returns a kernel that no product of a column and a row makes.
func lopsided(size int) measure.Kernel {
	k := measure.Kernel{H: size, W: size, Weights: make([]float64, size*size)}
	for i := range size {
		k.Weights[i*size+i] = 1 / float64(size+1)
	}
	k.Weights[1] = 1 / float64(size+1)
	return k
}

// operators returns one of each kind, small enough for dense matrices. circular and
// rectangular sizes, channels, and rows of zeros are among them.
func operators(t *testing.T, dev compute.Device) map[string]measure.Linear {
	t.Helper()
	all := map[string]measure.Linear{}
	add := func(name string, op measure.Linear, err error) {
		require.NoError(t, err, name)
		all[name] = op
		t.Cleanup(op.Close)
	}
	keep, err := measure.RandomMask(6, 8, 0.6, seeded())
	require.NoError(t, err)
	op, err := measure.NewMask(dev, 2, 6, 8, keep)
	add("mask", op, err)
	op, err = measure.NewIdentity(dev, 1, 5, 4)
	add("denoise", op, err)
	op, err = measure.NewSuperResolution(dev, 2, 8, 12, 4)
	add("sr4", op, err)
	op, err = measure.NewSuperResolution(dev, 1, 8, 8, 2)
	add("sr2", op, err)
	gauss, err := measure.GaussianKernel(5, 0.9)
	require.NoError(t, err)
	op, err = measure.NewBlur(dev, 1, 8, 9, gauss, compute.Reflect)
	add("Gaussian reflected", op, err)
	op, err = measure.NewBlur(dev, 2, 8, 6, gauss, compute.Circular)
	add("Gaussian circular", op, err)
	op, err = measure.NewBlur(dev, 2, 7, 10, lopsided(5), compute.Circular)
	add("any kernel circular", op, err)
	op, err = measure.NewBlur(dev, 1, 4, 6, lopsided(9), compute.Circular)
	add("a kernel larger than the image", op, err)
	op, err = measure.NewBlur(dev, 1, 8, 8, lopsided(5), compute.Reflect)
	add("any kernel reflected", op, err)
	op, err = measure.NewPool(dev, 2, 6, 9, 3)
	add("pool3", op, err)
	op, err = measure.NewLuma(dev, 3, 5, 4)
	add("luma", op, err)
	motion, err := measure.MotionKernel(7, 0.5, seeded())
	require.NoError(t, err)
	op, err = measure.NewBlur(dev, 1, 8, 9, motion, compute.Reflect)
	add("motion reflected", op, err)
	op, err = measure.Compose(dev, sr2(t, dev), blurOf(t, dev, lopsided(5)))
	add("super-resolution of a blur", op, err)
	op, err = measure.Compose(dev, partialMask(t, dev), blurOf(t, dev, gauss))
	add("a mask of a blur", op, err)
	op, err = measure.Compose(dev, blurOf(t, dev, lopsided(3)), partialMask(t, dev))
	add("a blur of a mask", op, err)
	colour, err := measure.NewLuma(dev, 3, 8, 8)
	require.NoError(t, err)
	grey, err := measure.NewPool(dev, 1, 8, 8, 4)
	require.NoError(t, err)
	op, err = measure.Compose(dev, grey, colour)
	add("means of the luma", op, err)
	rng := seeded()
	a := mat.NewDense(5, 8, nil)
	for i := range 5 {
		for j := range 8 {
			if i != 3 {
				a.Set(i, j, rng.NormFloat64())
			}
		}
	}
	op, err = measure.NewDense(dev, a)
	add("dense with a zero row", op, err)
	op, err = measure.NewDense(dev, mat.NewDense(3, 2, []float64{1, 2, 3, 4, 5, 6}))
	add("dense of rank below its rows", op, err)
	return all
}

// The parts of the compositions, for images of 1×8×8.
func sr2(t *testing.T, dev compute.Device) measure.Linear {
	op, err := measure.NewSuperResolution(dev, 1, 8, 8, 2)
	require.NoError(t, err)
	return op
}

func blurOf(t *testing.T, dev compute.Device, k measure.Kernel) measure.Linear {
	op, err := measure.NewBlur(dev, 1, 8, 8, k, compute.Reflect)
	require.NoError(t, err)
	return op
}

// partialMask misses the left half, and the top row of the rest.
func partialMask(t *testing.T, dev compute.Device) measure.Linear {
	keep := make([]float32, 64)
	for i := range keep {
		if i >= 8 && i%8 >= 4 {
			keep[i] = 1
		}
	}
	op, err := measure.NewMask(dev, 1, 8, 8, keep)
	require.NoError(t, err)
	return op
}

// random is n tensors of that shape, N(0, 1).
func random(dev compute.Device, rng *rand.Rand, n int, shape func() (c, h, w int)) (compute.Tensor, []float32) {
	c, h, w := shape()
	values := make([]float32, n*c*h*w)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	t, err := compute.FromHost(dev, values, n, c, h, w)
	if err != nil {
		panic(err)
	}
	return t, values
}

// poisoned returns a destination full of NaN.
func poisoned(dev compute.Device, n int, shape func() (c, h, w int)) compute.Tensor {
	c, h, w := shape()
	values := make([]float32, n*c*h*w)
	for i := range values {
		values[i] = float32(math.NaN())
	}
	t, err := compute.FromHost(dev, values, n, c, h, w)
	if err != nil {
		panic(err)
	}
	return t
}

func read(t *testing.T, dev compute.Device, x compute.Tensor) []float64 {
	t.Helper()
	values, err := compute.ToHost(dev, x)
	require.NoError(t, err)
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// matrixOf is A, built from the images of the unit vectors.
func matrixOf(t *testing.T, dev compute.Device, op measure.Linear) *mat.Dense {
	t.Helper()
	c, h, w := op.In()
	n := c * h * w
	unit := make([]float32, n*n)
	for i := range n {
		unit[i*n+i] = 1
	}
	x, err := compute.FromHost(dev, unit, n, c, h, w)
	require.NoError(t, err)
	y := poisoned(dev, n, op.Out)
	op.Apply(y, x)
	values := read(t, dev, y)
	return mat.DenseCopyOf(mat.NewDense(n, len(values)/n, values).T())
}

// spectrum is A Aᵀ on the measured rows, or its bound where Power is not exact.
type spectrum struct {
	a        *mat.Dense
	measured []int
	values   []float64
	vectors  mat.Dense
}

func spectrumOf(t *testing.T, dev compute.Device, op measure.Linear) spectrum {
	t.Helper()
	s := spectrum{a: matrixOf(t, dev, op)}
	rows, _ := s.a.Dims()
	for i := range rows {
		if mat.Norm(s.a.RowView(i), 2) > 0 {
			s.measured = append(s.measured, i)
		}
	}
	gram := mat.NewSymDense(len(s.measured), nil)
	for i, a := range s.measured {
		for j, b := range s.measured[:i+1] {
			gram.SetSym(i, j, mat.Dot(s.a.RowView(a), s.a.RowView(b)))
		}
	}
	var e mat.EigenSym
	require.True(t, e.Factorize(gram, true))
	e.VectorsTo(&s.vectors)
	s.values = e.Values(nil)
	return s
}

// apply is f(A Aᵀ) z, zero where nothing is measured.
func (s spectrum) apply(f func(e float64) float64, z []float64) []float64 {
	out := make([]float64, len(z))
	for k, e := range s.values {
		dot := 0.0
		for i, at := range s.measured {
			dot += s.vectors.At(i, k) * z[at]
		}
		for i, at := range s.measured {
			out[at] += f(max(e, 0)) * dot * s.vectors.At(i, k)
		}
	}
	return out
}

// relative returns ‖got − want‖/‖want‖.
func relative(got, want []float64) float64 {
	var diff, norm float64
	for i := range want {
		diff += (got[i] - want[i]) * (got[i] - want[i])
		norm += want[i] * want[i]
	}
	if math.IsNaN(diff) || len(got) != len(want) {
		return math.Inf(1)
	}
	return math.Sqrt(diff / norm)
}
