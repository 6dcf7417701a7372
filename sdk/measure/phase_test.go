package measure_test

import (
	"math"
	"math/cmplx"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// magnitudes returns the reference's way, in float64: pad with zeros, shift, transform,
// shift back, orthonormal, absolute value; of images h×w with pads at each side.
func magnitudes(x []float64, h, w, padY, padX int) []float64 {
	outH, outW := h+2*padY, w+2*padX
	var out []float64
	for ; len(x) > 0; x = x[h*w:] {
		grid := make([]complex128, outH*outW)
		for i := range h * w {
			y, x0 := (i/w+padY+(outH+1)/2)%outH, (i%w+padX+(outW+1)/2)%outW // ifftshift
			grid[y*outW+x0] = complex(x[i], 0)
		}
		rows, columns := fourier.NewCmplxFFT(outW), fourier.NewCmplxFFT(outH)
		for y := range outH {
			rows.Coefficients(grid[y*outW:(y+1)*outW], grid[y*outW:(y+1)*outW])
		}
		image, line := make([]float64, outH*outW), make([]complex128, outH)
		for u := range outW {
			for y := range outH {
				line[y] = grid[y*outW+u]
			}
			for v, c := range columns.Coefficients(nil, line) {
				at := (v+outH/2)%outH*outW + (u+outW/2)%outW // fftshift
				image[at] = cmplx.Abs(c) / math.Sqrt(float64(outH*outW))
			}
		}
		out = append(out, image...)
	}
	return out
}

func norm(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

func TestPhaseRetrievalAgainstFFT(t *testing.T) {
	dev := device(t)
	for _, c := range []struct {
		h, w, padY, padX int
		oversample       float64
	}{{8, 12, 2, 3, 2}, {9, 5, 2, 1, 2}, {6, 6, 6, 6, 8}, {4, 4, 0, 0, 1}} {
		op, err := measure.NewPhaseRetrieval(dev, 2, c.h, c.w, c.oversample)
		require.NoError(t, err)
		oc, oh, ow := op.Out()
		assert.Equal(t, [3]int{2, c.h + 2*c.padY, c.w + 2*c.padX}, [3]int{oc, oh, ow})
		x, values := random(dev, seeded(), 3, op.In)
		y := poisoned(dev, 3, op.Out)
		op.Apply(y, x)
		got, want := read(t, dev, y), magnitudes(wide(values), c.h, c.w, c.padY, c.padX)
		assert.Less(t, relative(got, want), 1e-6, "%v", c)
		assert.InEpsilon(t, norm(wide(values)), norm(got), 1e-6, "F is orthonormal")

		dev.Combine(x, compute.Times(-1, x))
		op.Apply(y, x)
		assert.Equal(t, got, read(t, dev, y), "a picture and its negative")
		op.Close()
	}
	op, err := measure.NewPhaseRetrieval(dev, 3, 256, 256, 2)
	require.NoError(t, err)
	defer op.Close()
	_, h, w := op.Out()
	assert.Equal(t, [2]int{384, 384}, [2]int{h, w}, "64 on each side")
}

// The gradient of ‖y − f(x)‖ by the VJP against central differences in float64, and
// ⟨u, Jd⟩ = ⟨Jᵀu, d⟩ in random directions.
func TestPhaseRetrievalVJP(t *testing.T) {
	dev := device(t)
	const h, w, n = 6, 8, 2
	op, err := measure.NewPhaseRetrieval(dev, 1, h, w, 2)
	require.NoError(t, err)
	defer op.Close()
	f := func(x []float64) []float64 { return magnitudes(x, h, w, 1, 2) }
	rng := seeded()
	x, values := random(dev, rng, n, op.In)
	u, cotangent := random(dev, rng, n, op.Out)
	dst := poisoned(dev, n, op.In)
	op.VJP(dst, x, u)
	got := read(t, dev, dst)
	want := make([]float64, len(got))
	const step = 1e-5
	at := wide(values)
	for i := range at {
		at[i] += step
		up := f(at)
		at[i] -= 2 * step
		down := f(at)
		at[i] += step
		for k := range up {
			want[i] += float64(cotangent[k]) * (up[k] - down[k]) / (2 * step)
		}
	}
	assert.Less(t, relative(got, want), 1e-5)

	y := make([]float64, 2*h*w) // one measurement of 8×12
	for i := range y {
		y[i] = rng.Float64()
	}
	require.Len(t, f(at[:h*w]), len(y))
	residual := func(x []float64) []float64 {
		r := f(x)
		for i := range r {
			r[i] = y[i] - r[i]
		}
		return r
	}
	one := at[:h*w]
	r := residual(one)
	for i, v := range r {
		cotangent[i] = float32(-v / norm(r))
	}
	dev.Write(u, cotangent)
	op.VJP(dst.Images(0, 1), x.Images(0, 1), u.Images(0, 1))
	got, want = read(t, dev, dst.Images(0, 1)), make([]float64, h*w)
	for i := range one {
		one[i] += step
		up := norm(residual(one))
		one[i] -= 2 * step
		want[i] = (up - norm(residual(one))) / (2 * step)
		one[i] += step
	}
	assert.Less(t, relative(got, want), 1e-5, "the gradient that DPS takes")
}

// Where the magnitude is zero the derivative is zero, not NaN.
func TestPhaseRetrievalAtZero(t *testing.T) {
	dev := device(t)
	op, err := measure.NewPhaseRetrieval(dev, 1, 4, 4, 2)
	require.NoError(t, err)
	defer op.Close()
	x, err := compute.FromHost(dev, make([]float32, 16), 1, 1, 4, 4)
	require.NoError(t, err)
	u, _ := random(dev, seeded(), 1, op.Out)
	y, back := poisoned(dev, 1, op.Out), poisoned(dev, 1, op.In)
	op.Apply(y, x)
	op.VJP(back, x, u)
	assert.Zero(t, norm(read(t, dev, y)))
	assert.Zero(t, norm(read(t, dev, back)))
}

func TestPhaseRetrievalErrors(t *testing.T) {
	dev := device(t)
	for _, oversample := range []float64{0, -2, 8.5, math.NaN()} {
		_, err := measure.NewPhaseRetrieval(dev, 3, 8, 8, oversample)
		assert.ErrorContains(t, err, "oversampling")
	}
	_, err := measure.NewPhaseRetrieval(dev, 3, 0, 8, 2)
	assert.ErrorContains(t, err, "images of 3×0×8")
}

// Measure takes a nonlinear model too, with noise on every value.
func TestMeasurePhase(t *testing.T) {
	dev := device(t)
	op, err := measure.NewPhaseRetrieval(dev, 1, 4, 4, 2)
	require.NoError(t, err)
	defer op.Close()
	noise := make([]float32, 36)
	for i := range noise {
		noise[i] = float32(i)
	}
	y, err := measure.Measure(dev, op, make([]float32, 16), noise, 0.5)
	require.NoError(t, err)
	for i, v := range y {
		assert.EqualValues(t, noise[i]/2, v)
	}
}

// The VJP of a linear operator is the adjoint at any x.
func TestVJP(t *testing.T) {
	dev := device(t)
	for name, op := range operators(t, dev) {
		x, _ := random(dev, seeded(), 2, op.In)
		u, _ := random(dev, seeded(), 2, op.Out)
		a, b := poisoned(dev, 2, op.In), poisoned(dev, 2, op.In)
		measure.VJP(op, a, x, u)
		op.Adjoint(b, u)
		assert.Equal(t, read(t, dev, b), read(t, dev, a), name)
	}
}
