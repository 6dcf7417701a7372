package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// inpainting is a trial that sees the pixels of keep.
func inpainting(t *testing.T, keep []float32) *trial {
	diagonal := mat.NewDense(dim, dim, nil)
	for i, v := range keep {
		diagonal.Set(i, i, float64(v))
	}
	tr := newTrial(t, true, 5, diagonal, func(dev compute.Device) (measure.Linear, error) { return measure.NewMask(dev, 1, 1, dim, keep) })
	tr.A.Scale(tr.Y, tr.Y, 1) // nothing else is measured
	return tr
}

// The published residual has the noise of the pixels that are missing, and the published
// projection keeps nothing of an image but what it measures of it, negative.
func TestPublishedInpainting(t *testing.T) {
	keep := []float32{1, 0, 0, 1, 1, 0, 1, 0}
	tr := inpainting(t, keep)
	step := tr.run(t, guide.DPS{Scale: 0.7})
	residual := append([]float64(nil), tr.Residual...)
	published := tr.run(t, guide.DPS{Scale: 0.7, Published: true})
	for i, r := range residual {
		factor := r / math.Hypot(r, 2*tr.SigmaY) // four missing
		assert.LessOrEqual(t, relative(published[i], scaled(factor, step[i])), 1e-5)
		assert.Less(t, factor, 0.999)
	}

	tr.run(t, guide.MCG{Published: true})
	next, proposal := tr.read(t, tr.Next), tr.read(t, tr.Proposal)
	for i := range images {
		for k, known := range keep {
			y := math.Sqrt(1-tr.alphaBar) * float64(tr.noise[i*dim+k])
			want := y
			if known == 1 {
				want = -(proposal[i][k] + published[i][k]/0.7)
			} else {
				want += math.Sqrt(tr.alphaBar) * tr.read(t, tr.Y)[i][k]
			}
			assert.InDelta(t, want, next[i][k], 1e-5, "image %d, pixel %d", i, k)
		}
	}

	tr = newTrial(t, true, 5, nil, nil) // everything is measured, and y is no image
	for _, m := range [][2]guide.Method{{guide.DPS{Scale: 1}, guide.DPS{Scale: 1, Published: true}}, {guide.MCG{}, guide.MCG{Published: true}}} {
		assert.Equal(t, tr.run(t, m[0]), tr.run(t, m[1]), m[0].Name())
	}
}

// ΠGDM's published program steps from x̂0 that is not clipped, and begins at the picture of y.
func TestPublishedPiGDM(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	drift := tr.run(t, guide.PiGDM{Scale: 1})
	got := tr.run(t, guide.PiGDM{Scale: 1, Published: true})
	x0, clipped := tr.read(t, tr.X0), tr.read(t, tr.Clipped)
	c0, _ := tr.Schedule.DDPM(tr.Index)
	for i := range images {
		floats.Sub(x0[i], clipped[i])
		require.NotZero(t, floats.Norm(x0[i], 2), "some value is clipped")
		want := scaled(c0, x0[i])
		floats.Add(want, drift[i])
		assert.LessOrEqual(t, relative(got[i], want), 1e-5)
	}

	before, y := tr.read(t, tr.X), tr.read(t, tr.Y)
	require.NoError(t, guide.PiGDM{}.Start(tr.Step))
	assert.Equal(t, before, tr.read(t, tr.X))
	for sigma, start := range map[float64]func(*guide.Step) error{0.3: guide.PiGDM{Published: true, MinSigmaY: 0.3}.Start, 0.2: guide.FromMeasurement} {
		tr := newTrial(t, true, 5, nil, nil)
		require.NoError(t, start(tr.Step))
		var gram mat.Dense
		gram.Mul(tr.a, tr.a.T())
		for k := range 3 {
			gram.Set(k, k, gram.At(k, k)+sigma*sigma)
		}
		for i, x := range tr.read(t, tr.X) {
			var w, lift mat.VecDense
			require.NoError(t, w.SolveVec(&gram, mat.NewVecDense(3, y[i])))
			lift.MulVec(tr.a.T(), &w)
			want := scaled(math.Sqrt(1-tr.alphaBar), before[i])
			floats.AddScaled(want, math.Sqrt(tr.alphaBar), lift.RawVector().Data)
			assert.LessOrEqual(t, relative(x, want), 1e-5)
		}
	}
}
