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
			left, err := compute.Dot(dev, ax, y)
			require.NoError(t, err)
			right, err := compute.Dot(dev, x, back)
			require.NoError(t, err)
			sizes, err := compute.Dot(dev, ax, ax)
			require.NoError(t, err)
			other, err := compute.Dot(dev, y, y)
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
				if !measure.Exact(op) {
					p = func(float64) float64 { return r2*op.LargestEigenvalue() + s2 }
				}
				logDet := 0.0
				for _, e := range s.values {
					logDet += math.Log(p(max(e, 0)))
				}
				assert.InDelta(t, logDet, measure.LogDet(op, r2, s2), 1e-3*float64(len(s.values)), "%s: log det, r² %v, s² %v", name, r2, s2)
				for _, power := range []float64{-1, -0.5, 0.5, 1} {
					z, values := random(dev, rng, 2, op.Out)
					dst := poisoned(dev, 2, op.Out)
					measure.Power(op, dst, z, r2, s2, power)
					measure.Power(op, z, z, r2, s2, power)
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

// Any function of the eigenvalues against the dense matrix, in place too, and image by image.
func TestFunctionAgainstDense(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		a, ok := op.(measure.Spectral)
		if !ok {
			continue
		}
		s := spectrumOf(t, dev, op)
		step := func(e float64) float64 {
			if e > 0.1*op.LargestEigenvalue() {
				return 2 + e
			}
			return -e
		}
		z, values := random(dev, seeded(), 1, op.Out)
		dst := poisoned(dev, 1, op.Out)
		a.Function(dst, z, step)
		a.Function(z, z, step)
		got := read(t, dev, dst)
		assert.Equal(t, got, read(t, dev, z), "%s: in place", name)
		one := make([]float64, len(values))
		for i, v := range values {
			one[i] = float64(v)
		}
		want := s.apply(func(e float64) float64 { return step(max(e, 0)) }, one)
		assert.Less(t, relative(got, want), 2e-5, name)
	}
}

// Powers at the noise levels of a run, to nearly float32: σ_y from 0.01 to 0.3.
func TestPowerPrecision(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		if !measure.Exact(op) {
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
				measure.Power(op, dst, z, 0.7, s2, power)
				want := s.apply(func(e float64) float64 { return math.Pow(0.7*e+s2, power) }, one)
				assert.Less(t, relative(read(t, dev, dst), want), 5e-6, "%s: power %v, s² %v", name, power, s2)
			}
		}
	}
}

// A factor of 1 changes nothing but what is not measured, to the bit; others scale.
func TestScale(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		z, values := random(dev, seeded(), 1, op.Out)
		op.Scale(z, z, 1)
		want := make([]float64, len(values))
		for _, at := range s.measured {
			want[at] = float64(values[at])
		}
		assert.Equal(t, want, read(t, dev, z), name)
		op.Scale(z, z, -0.5)
		for i := range want {
			want[i] *= -0.5
		}
		assert.Equal(t, want, read(t, dev, z), name)
	}
}

// Aᵀ (A Aᵀ + λI)⁻¹ y by a dense solve, by Power or conjugate gradients here.
func TestPseudoInverse(t *testing.T) {
	dev := device(t)
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	for name, op := range operators(t, dev) {
		s := spectrumOf(t, dev, op)
		for _, lambda := range []float64{1, 0.0025, 1e-4} {
			y, values := random(dev, seeded(), 1, op.Out)
			one := make([]float64, len(values))
			for i, v := range values {
				one[i] = float64(v)
			}
			dst := poisoned(dev, 1, op.In)
			require.NoError(t, measure.PseudoInverse(ws, op, dst, y, lambda))
			solved := s.apply(func(e float64) float64 { return 1 / (e + lambda) }, one)
			var want mat.VecDense
			want.MulVec(s.a.T(), mat.NewVecDense(len(solved), solved))
			bound := max(2e-4, 1e-9*op.LargestEigenvalue()/lambda) // float32 against the condition
			assert.Less(t, relative(read(t, dev, dst), want.RawVector().Data), bound, "%s, λ %v", name, lambda)
		}
		y, _ := random(dev, seeded(), 1, op.Out)
		x := poisoned(dev, 1, op.In)
		for _, lambda := range []float64{-1, math.NaN(), math.Inf(1)} {
			assert.ErrorContains(t, measure.PseudoInverse(ws, op, x, y, lambda), "lambda", name)
		}
	}
}

// With no damping A A⁺ y = y for a y that A can produce, and nothing is NaN.
func TestPseudoInverseWithoutDamping(t *testing.T) {
	dev := device(t)
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	for name, op := range operators(t, dev) {
		x, _ := random(dev, seeded(), 3, op.In)
		y, again, back := poisoned(dev, 3, op.Out), poisoned(dev, 3, op.Out), poisoned(dev, 3, op.In)
		op.Apply(y, x)
		require.NoError(t, measure.PseudoInverse(ws, op, back, y, 0), name)
		op.Apply(again, back)
		assert.Less(t, relative(read(t, dev, again), read(t, dev, y)), 1e-3, name)
		measure.Power(op, again, y, 1, 1e-300, -0.5)
		for _, v := range read(t, dev, again) {
			require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%s: power at s² = 1e-300", name)
		}
	}
}

// What stands where nothing is measured has no effect, however large.
func TestPseudoInverseIgnoresUnmeasured(t *testing.T) {
	dev := device(t)
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	for name, op := range operators(t, dev) {
		y, _ := random(dev, seeded(), 1, op.Out)
		x, again := poisoned(dev, 1, op.In), poisoned(dev, 1, op.In)
		op.Scale(y, y, 1)
		require.NoError(t, measure.PseudoInverse(ws, op, x, y, 0.01))
		values := read(t, dev, y)
		loud := make([]float32, len(values))
		for i, v := range values {
			if loud[i] = float32(v); v == 0 {
				loud[i] = 1e7
			}
		}
		dev.Write(y, loud)
		require.NoError(t, measure.PseudoInverse(ws, op, again, y, 0.01))
		assert.Equal(t, read(t, dev, x), read(t, dev, again), name)
	}
}

// Means of blocks, one by one.
func TestPool(t *testing.T) {
	dev := device(t)
	for _, factor := range []int{2, 3, 4} {
		op, err := measure.NewPool(dev, 2, 2*factor, 3*factor, factor)
		require.NoError(t, err)
		x, values := random(dev, seeded(), 1, op.In)
		y := poisoned(dev, 1, op.Out)
		op.Apply(y, x)
		want := make([]float64, 2*2*3)
		for i, v := range values {
			row, column := i/(3*factor), i%(3*factor) // channels stand below each other
			want[row/factor*3+column/factor] += float64(v) / float64(factor*factor)
		}
		assert.Less(t, relative(read(t, dev, y), want), 1e-6, "× %d", factor)
		op.Close()
	}
}

func TestLift(t *testing.T) {
	dev := device(t)
	all := operators(t, dev)
	for _, name := range []string{"mask", "denoise", "sr4", "sr2", "pool3"} {
		op, ok := all[name].(measure.Lifter)
		require.True(t, ok, name)
		y, _ := random(dev, seeded(), 2, op.Out)
		op.Scale(y, y, 1)
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
	op, ok := all["luma"].(measure.Lifter)
	require.True(t, ok)
	y, values := random(dev, seeded(), 2, op.Out)
	x, again := poisoned(dev, 2, op.In), poisoned(dev, 2, op.Out)
	op.Lift(x, y)
	grey := read(t, dev, x)
	for i, v := range grey {
		assert.EqualValues(t, values[i/60*20+i%20], v, "grey in each channel")
	}
	op.Apply(again, x)
	assert.Less(t, relative(read(t, dev, again), wide(values)), 1e-6, "A Lift(y) = y")
	_, ok = all["Gaussian reflected"].(measure.Lifter)
	assert.False(t, ok)
}

// A second run on as many images allocates nothing.
func TestScratchIsKept(t *testing.T) {
	counting := &counter{Device: device(t)}
	ws := compute.NewWorkspace(counting)
	defer ws.Free()
	for name, op := range operators(t, counting) {
		x, _ := random(counting, seeded(), 2, op.In)
		y := poisoned(counting, 2, op.Out)
		run := func() {
			op.Apply(y, x)
			measure.Power(op, y, y, 1, 1, -0.5)
			op.Adjoint(x, y)
			require.NoError(t, measure.PseudoInverse(ws, op, x, y, 0.1))
		}
		run()
		before := counting.live
		allocated := counting.allocated
		run()
		assert.Equal(t, allocated, counting.allocated, name)
		op.Close()
		if name != "luma" { // has no arrays
			assert.Less(t, counting.live, before, "%s: Close frees", name)
		}
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
	op, err := measure.ForTask("sr4", dev, 3, 64, 64, measure.Inputs{Rand: rand.New(rand.NewPCG(1, 1))})
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
