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
)

// With full Krylov spaces the step goes through Matheron's rule in dense algebra, for the
// draw and for the mean.
func TestPathwiseIsMatheronsRule(t *testing.T) {
	for _, root := range []int{0, dim} {
		for _, index := range []int{2, 7} {
			tr := newTrial(t, false, index, nil, nil)
			tr.Random = func(z []float32, draw int) { copy(z, tr.noise[draw:]) }
			moved := tr.run(t, guide.Pathwise{Root: root, Solve: 3})
			toNext, _ := tr.Schedule.DDPM(index)
			for i := range images {
				l, err := tr.mix.At(tr.x[i], tr.alphaBar)
				require.NoError(t, err)
				want := matheron(t, tr, i, l.Tweedie(nil), l.Covariance(), root > 0)
				floats.Sub(want, l.Tweedie(nil))
				assert.LessOrEqual(t, relative(moved[i], scaled(toNext, want)), 2e-4, "root %d, step %d, image %d", root, index, i)
			}
		}
	}
}

// matheron is a draw, or the mean, of N(mean, c) given the image's measurement.
func matheron(t *testing.T, tr *trial, i int, mean []float64, c mat.Symmetric, draw bool) []float64 {
	x := mat.NewVecDense(dim, append([]float64(nil), mean...))
	r := mat.NewVecDense(3, append([]float64(nil), tr.y[i]...))
	if draw {
		var e mat.EigenSym
		require.True(t, e.Factorize(c, true))
		var u, half mat.Dense
		e.VectorsTo(&u)
		half.Apply(func(_, k int, v float64) float64 { return v * math.Sqrt(math.Max(e.Values(nil)[k], 0)) }, &u)
		half.Mul(&half, u.T())
		var step mat.VecDense
		step.MulVec(&half, mat.NewVecDense(dim, wide(tr.noise[i*dim:(i+1)*dim])))
		x.AddVec(x, &step)
		floats.AddScaled(r.RawVector().Data, tr.SigmaY, wide(tr.noise[1+i*3:1+(i+1)*3]))
	}
	var ax, solved, gain mat.VecDense
	ax.MulVec(tr.a, x)
	r.SubVec(r, &ax)
	var s, ca mat.Dense
	ca.Mul(c, tr.a.T())
	s.Mul(tr.a, &ca)
	for k := range 3 {
		s.Set(k, k, s.At(k, k)+tr.SigmaY*tr.SigmaY)
	}
	require.NoError(t, solved.SolveVec(&s, r))
	gain.MulVec(&ca, &solved)
	x.AddVec(x, &gain)
	return x.RawVector().Data
}

// Below its window the step is the guided mean of an isotropic covariance.
func TestPathwiseBelowItsWindow(t *testing.T) {
	tr := newTrial(t, true, 8, nil, nil)
	assert.Equal(t, tr.run(t, guide.PiGDM{Scale: 1, GuidedMean: true}), tr.run(t, guide.Pathwise{Root: 2, Solve: 2, MinAlphaBar: 1}))
}

// MMPS is the evidence's drift.
func TestMMPS(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	assert.Equal(t, tr.run(t, guide.Evidence{Scale: 1, Lanczos: 2}), tr.run(t, guide.MMPS{Lanczos: 2}))
}

// DiffPIR's x0 minimises ‖y − A x‖²/σ_y² + (λ/σ̄²)‖x − x̂0‖², and its step re-noises it.
func TestDiffPIR(t *testing.T) {
	for _, zeta := range []float64{0, 0.3, 1} {
		tr := newTrial(t, true, 5, nil, nil)
		const lambda = 2
		moved := tr.run(t, guide.DiffPIR{Lambda: lambda, Zeta: zeta})
		clipped, proposal := tr.read(t, tr.Clipped), tr.read(t, tr.Proposal)
		ab, prev := tr.alphaBar, tr.Schedule.AlphaBarPrev(5)
		belief := mat.NewSymDense(dim, nil)
		for k := range dim {
			belief.SetSym(k, k, (1-ab)/ab/lambda)
		}
		for i := range images {
			x0 := matheron(t, tr, i, clipped[i], belief, false)
			want := scaled(math.Sqrt(prev), x0)
			for k := range want {
				eps := (tr.x[i][k] - math.Sqrt(ab)*x0[k]) / math.Sqrt(1-ab)
				want[k] += math.Sqrt(1-prev)*(math.Sqrt(1-zeta)*eps+math.Sqrt(zeta)*float64(tr.noise[i*dim+k])) - proposal[i][k]
			}
			assert.LessOrEqual(t, relative(moved[i], want), 1e-4, "ζ = %v, image %d", zeta, i)
		}
	}
	tr := newTrial(t, true, 0, nil, nil)
	tr.run(t, guide.DiffPIR{Lambda: 1, Zeta: 0.5})
	last := tr.read(t, tr.Next)
	tr.Device.Combine(tr.X, compute.Times(2, tr.X))
	tr.run(t, guide.DiffPIR{Lambda: 1, Zeta: 1})
	assert.Equal(t, last, tr.read(t, tr.Next), "the last step is x0 itself")
}
