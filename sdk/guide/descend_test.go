package guide_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// draws gives each draw of the trial another part of its noise.
func (tr *trial) draws() {
	tr.Random = func(z []float32, draw int) {
		for i := range z {
			z[i] = tr.noise[(i+5*draw)%len(tr.noise)]
		}
	}
}

// drawn is an image's part of a draw of the trial.
func (tr *trial) drawn(draw, i, size int) []float64 {
	z := make([]float32, images*size)
	tr.Random(z, draw)
	return wide(z[i*size : (i+1)*size])
}

// ddim denoises an image from x at step index through the named steps in float64.
func (tr *trial) ddim(t *testing.T, i int, x []float64, eta float64, at ...int) []float64 {
	for j, index := range at {
		ab := tr.Schedule.AlphaBar(index)
		l, err := tr.mix.At(x, ab)
		require.NoError(t, err)
		x0 := l.Tweedie(nil)
		if j == len(at)-1 {
			return x0
		}
		next := tr.Schedule.AlphaBar(at[j+1])
		sigma := eta * math.Sqrt((1-next)/(1-ab)) * math.Sqrt(1-ab/next)
		z := tr.drawn(2+j, i, dim)
		out := scaled(math.Sqrt(next), x0)
		for k := range out {
			epsilon := (x[k] - math.Sqrt(ab)*x0[k]) / math.Sqrt(1-ab)
			out[k] += math.Sqrt(1-next-sigma*sigma)*epsilon + sigma*z[k]
		}
		x = out
	}
	return nil
}

// conditional is an image's draw from N(mean, r²I) given its measurement.
func (tr *trial) conditional(t *testing.T, i int, mean []float64, r float64) []float64 {
	shifted, y := floats.AddScaledTo(make([]float64, dim), mean, r, tr.drawn(0, i, dim)), tr.y[i]
	tr.y[i] = floats.AddScaledTo(make([]float64, 3), y, tr.SigmaY, tr.drawn(1, i, 3))
	defer func() { tr.y[i] = y }()
	belief := mat.NewSymDense(dim, nil)
	for k := range dim {
		belief.SetSym(k, k, r*r)
	}
	return matheron(t, tr, i, shifted, belief, false)
}

// A step of split Gibbs sampling is its two draws, from the image that is the state, first
// from the clipped x̂0.
func TestGibbs(t *testing.T) {
	for index, at := range map[int][]int{9: {9, 6, 3}, 4: {4, 3, 1}, 1: {1, 0}, 0: {0}} {
		tr := newTrial(t, true, index, nil, nil)
		tr.draws()
		tr.run(t, guide.Gibbs{})
		next := tr.read(t, tr.Next)
		from := tr.read(t, tr.X0)
		if index == 9 {
			from = tr.read(t, tr.Clipped)
		}
		assert.Equal(t, guide.Cost{Guides: true, Linear: true, Image: index < 9, Values: len(at)}, guide.Gibbs{}.Cost(tr.Schedule, index))
		for i := range images {
			q := tr.conditional(t, i, from[i], math.Sqrt((1-tr.alphaBar)/tr.alphaBar))
			want := tr.ddim(t, i, scaled(math.Sqrt(tr.alphaBar), q), 1, at...)
			assert.LessOrEqual(t, relative(next[i], want), 1e-4, "step %d, image %d", index, i)
		}
	}
}

// A step of DAPS descends, draws and re-noises: in closed form, and by Langevin steps, which
// are shortened where they would overshoot.
func TestDAPS(t *testing.T) {
	for index, at := range map[int][]int{9: {9, 6, 3}, 2: {2, 1}, 0: {0}} {
		for _, size := range []float64{0, 1e-3, 1e3} {
			tr := newTrial(t, true, index, nil, nil)
			tr.draws()
			m := guide.DAPS{Radius: 0.4, Langevin: 3, StepSize: 1}
			if size > 0 {
				m.Radius, m.StepSize = 0, size
			}
			tr.run(t, m)
			next, prev := tr.read(t, tr.Next), tr.Schedule.AlphaBarPrev(index)
			r := math.Sqrt((1 - tr.alphaBar) / tr.alphaBar)
			for i := range images {
				q := tr.ddim(t, i, tr.x[i], 0, at...)
				if m.Radius > 0 {
					q = tr.conditional(t, i, q, 0.4*min(r, 1))
				} else {
					q = tr.langevin(i, q, r, m)
				}
				want := floats.AddScaledTo(make([]float64, dim), scaled(math.Sqrt(prev), q), math.Sqrt(1-prev), tr.drawn(2, i, dim))
				assert.LessOrEqual(t, relative(next[i], want), 1e-4, "step %d, size %v, image %d", index, size, i)
			}
		}
	}
}

// langevin takes DAPS's Langevin steps of an image in float64.
func (tr *trial) langevin(i int, x0 []float64, r float64, m guide.DAPS) []float64 {
	h := m.StepSize * (0.01 + 0.99*float64(tr.Index)/9)
	h = min(h, 1/(tr.A.LargestEigenvalue()/(tr.SigmaY*tr.SigmaY)+1/(r*r)))
	q := append([]float64(nil), x0...)
	for j := range m.Langevin {
		residual, slope := mat.NewVecDense(3, nil), mat.NewVecDense(dim, nil)
		residual.MulVec(tr.a, mat.NewVecDense(dim, q))
		residual.SubVec(mat.NewVecDense(3, tr.y[i]), residual)
		slope.MulVec(tr.a.T(), residual)
		z := tr.drawn(3+j, i, dim)
		for k := range q {
			q[k] += h*(slope.AtVec(k)/(tr.SigmaY*tr.SigmaY)+(x0[k]-q[k])/(r*r)) + math.Sqrt(2*h)*z[k]
		}
	}
	return q
}
