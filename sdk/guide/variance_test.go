package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// diagonal is the posterior variance that the network of a trial has learned, of an image.
func (tr *trial) diagonal(t testing.TB, image int, lambda float64) *mat.SymDense {
	d := mat.NewSymDense(dim, nil)
	for p, v := range tr.read(t, tr.Variance)[image] {
		d.SetSym(p, p, tr.Schedule.PosteriorX0(tr.Index, v)/lambda)
	}
	return d
}

// ΠGDM with the learned variance pulls Aᵀ(A D Aᵀ + σ_y² I)⁻¹(y − A x̂0) back.
func TestPiGDMWithTheLearnedVariance(t *testing.T) {
	tr := newTrial(t, false, 5, nil, nil)
	i := tr.Index
	published := tr.run(t, guide.PiGDM{Scale: 0.9, Learned: 100})
	guided := tr.run(t, guide.PiGDM{Scale: 0.9, Learned: 100, GuidedMean: true})
	floor := tr.run(t, guide.PiGDM{Scale: 0.9, Learned: 100, MinSigmaY: 0.5})
	for image := range images {
		g := func(sigma float64) []float64 {
			var p mat.Dense
			p.Product(tr.a, tr.diagonal(t, image, 1), tr.a.T())
			for k := range 3 {
				p.Set(k, k, p.At(k, k)+sigma*sigma)
			}
			return tr.slope(t, image, func(l *mixture.Local) float64 {
				r := tr.innovation(image, l, false)
				var solved mat.VecDense
				require.NoError(t, solved.SolveVec(&p, r))
				return -mat.Dot(r, &solved) / 2
			})
		}
		form := 0.9 * math.Sqrt(tr.Schedule.AlphaBarPrev(i)*tr.alphaBar) * (1 - tr.alphaBar)
		assert.LessOrEqual(t, relative(published[image], scaled(form, g(0.2))), 2e-4)
		assert.LessOrEqual(t, relative(floor[image], scaled(form, g(0.5))), 2e-4)
		assert.LessOrEqual(t, relative(guided[image], scaled(0.9*tr.Schedule.Beta(i)/math.Sqrt(1-tr.Schedule.Beta(i)), g(0.2))), 2e-4)
	}
}

// DiffPIR with the learned variance takes the mean of N(x̂0, D/λ) given y.
func TestDiffPIRWithTheLearnedVariance(t *testing.T) {
	const lambda = 2
	tr := newTrial(t, true, 5, nil, nil)
	moved := tr.run(t, guide.DiffPIR{Lambda: lambda, Zeta: 1, Learned: 100})
	clipped, proposal, prev := tr.read(t, tr.Clipped), tr.read(t, tr.Proposal), tr.Schedule.AlphaBarPrev(5)
	for i := range images {
		want := scaled(math.Sqrt(prev), matheron(t, tr, i, clipped[i], tr.diagonal(t, i, lambda), false))
		floats.AddScaled(want, math.Sqrt(1-prev), wide(tr.noise[i*dim:(i+1)*dim]))
		floats.Sub(want, proposal[i])
		assert.LessOrEqual(t, relative(moved[i], want), 1e-4, "image %d", i)
	}
}

// At and above the noise level of Learned the methods are those without.
func TestTheLearnedVarianceIsForLowNoise(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	level := math.Sqrt((1 - tr.alphaBar) / tr.alphaBar)
	for _, at := range []struct {
		level float64
		takes bool
	}{{level, false}, {1.01 * level, true}} {
		for _, m := range [][2]guide.Method{
			{guide.PiGDM{Scale: 1, GuidedMean: true}, guide.PiGDM{Scale: 1, GuidedMean: true, Learned: at.level}},
			{guide.DiffPIR{Lambda: 1, Zeta: 1}, guide.DiffPIR{Lambda: 1, Zeta: 1, Learned: at.level}},
		} {
			assert.Equal(t, at.takes, m[1].Cost(tr.Schedule, 5).Variance)
			without := tr.run(t, m[0])
			assert.Equal(t, !at.takes, assert.ObjectsAreEqual(without, tr.run(t, m[1])), "%s, %+v", m[0].Name(), at)
		}
	}
}
