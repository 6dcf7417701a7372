package measure_test

import (
	"fmt"
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

func device(t *testing.T) compute.Device {
	t.Helper()
	dev := cpu.New(0)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return dev
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// lopsided is a kernel that no product of a column and a row makes.
func lopsided(size int) measure.Kernel {
	k := measure.Kernel{H: size, W: size, Weights: make([]float64, size*size)}
	for i := range size {
		k.Weights[i*size+i] = 1 / float64(size+1)
	}
	k.Weights[1] = 1 / float64(size+1)
	return k
}

// operators are one of each kind, small enough for dense matrices. circular and
// rectangular sizes, channels, and rows of zeros are among them.
func operators(t *testing.T, dev compute.Device) map[string]measure.Operator {
	t.Helper()
	all := map[string]measure.Operator{}
	add := func(name string, op measure.Operator, err error) {
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

// poisoned is a destination full of NaN.
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
func matrixOf(t *testing.T, dev compute.Device, op measure.Operator) *mat.Dense {
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

func spectrumOf(t *testing.T, dev compute.Device, op measure.Operator) spectrum {
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

// relative is ‖got − want‖/‖want‖.
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

func TestAdjointAndLinearity(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		rng := seeded()
		for _, n := range []int{1, 3} {
			x, _ := random(dev, rng, n, op.In)
			x2, _ := random(dev, rng, n, op.In)
			y, _ := random(dev, rng, n, op.Out)
			ax, ax2, back := poisoned(dev, n, op.Out), poisoned(dev, n, op.Out), poisoned(dev, n, op.In)
			op.Apply(ax, x)
			op.Adjoint(back, y)
			left, err := dev.Dot(ax, y)
			require.NoError(t, err)
			right, err := dev.Dot(x, back)
			require.NoError(t, err)
			sizes, err := dev.Dot(ax, ax)
			require.NoError(t, err)
			other, err := dev.Dot(y, y)
			require.NoError(t, err)
			for i := range left {
				assert.InDelta(t, left[i], right[i], 1e-6*math.Sqrt(sizes[i]*other[i]), "%s: ⟨Ax, y⟩ and ⟨x, Aᵀy⟩", name)
			}

			op.Apply(ax2, x2)
			dev.Combine(ax, compute.Times(2, ax), compute.Times(-0.5, ax2))
			dev.Combine(x, compute.Times(2, x), compute.Times(-0.5, x2))
			op.Apply(ax2, x)
			assert.Less(t, relative(read(t, dev, ax2), read(t, dev, ax)), 1e-6, "%s: linearity", name)
		}
	}
}

// Power, LogDet, LargestEigenvalue and Measured against the dense matrix.
func TestPowerAgainstDense(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		c, h, w := op.Out()
		rng := seeded()
		assert.Equal(t, len(s.measured), op.Measured(), name)
		top := s.values[len(s.values)-1]
		assert.InEpsilon(t, top, op.LargestEigenvalue(), 1e-3, "%s: λ_max", name)
		for _, r2 := range []float64{0, 1e-4, 0.3, 1} {
			for _, s2 := range []float64{1e-6, 0.0025, 1} {
				p := func(e float64) float64 { return r2*e + s2 }
				if !op.Exact() {
					p = func(float64) float64 { return r2*op.LargestEigenvalue() + s2 }
				}
				logDet := 0.0
				for _, e := range s.values {
					logDet += math.Log(p(max(e, 0)))
				}
				assert.InDelta(t, logDet, op.LogDet(r2, s2), 1e-3*float64(len(s.values)), "%s: log det, r² %v, s² %v", name, r2, s2)
				for _, power := range []float64{-1, -0.5, 0.5, 1} {
					z, values := random(dev, rng, 2, op.Out)
					dst := poisoned(dev, 2, op.Out)
					op.Power(dst, z, r2, s2, power)
					op.Power(z, z, r2, s2, power)
					got, inPlace := read(t, dev, dst), read(t, dev, z)
					assert.Equal(t, got, inPlace, "%s: in place", name)
					for i := range 2 {
						one := make([]float64, c*h*w)
						for k := range one {
							one[k] = float64(values[i*len(one)+k])
						}
						want := s.apply(func(e float64) float64 { return math.Pow(p(e), power) }, one)
						part := got[i*len(one) : (i+1)*len(one)]
						assert.Less(t, relative(part, want), 2e-4, "%s: power %v, r² %v, s² %v", name, power, r2, s2)
						for k, v := range want {
							if v == 0 {
								assert.Zero(t, part[k], "%s: not measured at %d", name, k)
							}
						}
					}
				}
			}
		}
	}
}

// The same at the noise levels of a run, to nearly float32: σ_y from 0.01 to 0.3.
func TestPowerPrecision(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		if !op.Exact() {
			continue
		}
		for _, s2 := range []float64{1e-4, 0.0025, 0.09} {
			z, values := random(dev, seeded(), 1, op.Out)
			one := make([]float64, len(values))
			for i, v := range values {
				one[i] = float64(v)
			}
			for _, power := range []float64{-1, -0.5} {
				dst := poisoned(dev, 1, op.Out)
				op.Power(dst, z, 0.7, s2, power)
				want := s.apply(func(e float64) float64 { return math.Pow(0.7*e+s2, power) }, one)
				assert.Less(t, relative(read(t, dev, dst), want), 5e-6, "%s: power %v, s² %v", name, power, s2)
			}
		}
	}
}

// r² = 0, s² = 1, p = 1 changes nothing but what is not measured, to the bit.
func TestPowerAsProjection(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		z, values := random(dev, seeded(), 1, op.Out)
		op.Power(z, z, 0, 1, 1)
		want := make([]float64, len(values))
		for _, at := range s.measured {
			want[at] = float64(values[at])
		}
		assert.Equal(t, want, read(t, dev, z), name)
	}
}

// Aᵀ (A Aᵀ + λI)⁻¹ y by a dense solve, by Power or conjugate gradients here.
func TestPseudoInverse(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		for _, lambda := range []float64{1, 0.0025, 1e-4} {
			y, values := random(dev, seeded(), 1, op.Out)
			one := make([]float64, len(values))
			for i, v := range values {
				one[i] = float64(v)
			}
			dst := poisoned(dev, 1, op.In)
			require.NoError(t, op.PseudoInverse(dst, y, lambda))
			solved := s.apply(func(e float64) float64 { return 1 / (e + lambda) }, one)
			var want mat.VecDense
			want.MulVec(s.a.T(), mat.NewVecDense(len(solved), solved))
			bound := max(2e-4, 1e-9*op.LargestEigenvalue()/lambda) // float32 against the condition
			assert.Less(t, relative(read(t, dev, dst), want.RawVector().Data), bound, "%s, λ %v", name, lambda)
		}
		y, _ := random(dev, seeded(), 1, op.Out)
		x := poisoned(dev, 1, op.In)
		for _, lambda := range []float64{-1, math.NaN(), math.Inf(1)} {
			assert.ErrorContains(t, op.PseudoInverse(x, y, lambda), "lambda", name)
		}
	}
}

// With no damping A A⁺ y = y for a y that A can produce, and nothing is NaN.
func TestPseudoInverseWithoutDamping(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		x, _ := random(dev, seeded(), 3, op.In)
		y, again, back := poisoned(dev, 3, op.Out), poisoned(dev, 3, op.Out), poisoned(dev, 3, op.In)
		op.Apply(y, x)
		require.NoError(t, op.PseudoInverse(back, y, 0), name)
		op.Apply(again, back)
		assert.Less(t, relative(read(t, dev, again), read(t, dev, y)), 1e-3, name)
		op.Power(again, y, 1, 1e-300, -0.5)
		for _, v := range read(t, dev, again) {
			require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%s: power at s² = 1e-300", name)
		}
	}
}

func TestLift(t *testing.T) {
	dev := device(t)
	all := operators(t, dev)
	for _, name := range []string{"mask", "denoise", "sr4", "sr2"} {
		op, ok := all[name].(measure.Lifter)
		require.True(t, ok, name)
		y, _ := random(dev, seeded(), 2, op.Out)
		op.Power(y, y, 0, 1, 1)
		x := poisoned(dev, 2, op.In)
		op.Lift(x, y)
		_, h, w := op.In()
		_, yh, yw := op.Out()
		measured := read(t, dev, y)
		for i, v := range read(t, dev, x) {
			image, row, column := i/(h*w), i/w%h, i%w
			assert.Equal(t, measured[image*yh*yw+row*yh/h*yw+column*yw/w], v, "%s at %d", name, i)
		}
	}
	_, ok := all["Gaussian reflected"].(measure.Lifter)
	assert.False(t, ok)
}

// A second run on as many images allocates nothing.
func TestScratchIsKept(t *testing.T) {
	counting := &counter{Device: device(t)}
	for name, op := range operators(t, counting) {
		x, _ := random(counting, seeded(), 2, op.In)
		y := poisoned(counting, 2, op.Out)
		run := func() {
			op.Apply(y, x)
			op.Power(y, y, 1, 1, -0.5)
			op.Adjoint(x, y)
			require.NoError(t, op.PseudoInverse(x, y, 0.1))
		}
		run()
		before := counting.live
		allocated := counting.allocated
		run()
		assert.Equal(t, allocated, counting.allocated, name)
		op.Close()
		assert.Less(t, counting.live, before, "%s: Close frees", name)
		op.Close() // twice is harmless
	}
}

type counter struct {
	compute.Device
	allocated, live int
}

func (c *counter) Alloc(n int) (compute.Buffer, error) {
	c.allocated++
	c.live++
	return c.Device.Alloc(n)
}

func (c *counter) Free(b compute.Buffer) {
	c.live--
	c.Device.Free(b)
}

// A quarter of the pixels in each direction: what 4× super-resolution measures.
func Example() {
	dev := cpu.New(0)
	defer dev.Close()
	op, err := measure.ForTask("sr4", dev, 3, 64, 64, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		panic(err)
	}
	defer op.Close()
	x, noise := make([]float32, 3*64*64), make([]float32, 3*16*16)
	for i := range x {
		x[i] = 0.5
	}
	y, err := measure.Measure(dev, op, x, noise, 0.05)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s: %d values from %d, %.3f of 0.5\n", op.Name(), len(y), len(x), y[100])
	// Output: sr4: 768 values from 12288, 0.500 of 0.5
}
