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

// FPS draws ancestors by the likelihood of the noisy measurement, and from each the next particle by
// Matheron's rule; the last step takes the ancestors' denoised images.
func TestFPS(t *testing.T) {
	const particles, fresh = 3, 0.7
	random := func(z []float32, draw int) {
		for i := range z {
			z[i] = float32(1.3 * math.Sin(float64(7*i+13*draw+1)))
		}
	}
	chosen := map[int]int{}
	for _, index := range []int{9, 5, 0} {
		tr := newTrial(t, true, index, nil, nil)
		tr.Random = random
		ab, prev, variance := tr.alphaBar, tr.Schedule.AlphaBarPrev(index), tr.Schedule.PosteriorVariance(index)
		s2 := prev * tr.SigmaY * tr.SigmaY
		field := func(draw, image, size int) []float64 {
			z := make([]float32, images*size)
			random(z, draw)
			return wide(z[image*size : (image+1)*size])
		}
		states := [][][]float64{tr.x, tr.read(t, tr.Carried[1]), tr.read(t, tr.Carried[2])}
		before, proposal := tr.read(t, tr.Carried[0]), tr.read(t, tr.Proposal)
		moved := tr.run(t, guide.FPS{Particles: particles, Fresh: fresh})
		next := [][][]float64{moved, tr.read(t, tr.NextCarried[1]), tr.read(t, tr.NextCarried[2])}
		cx0, cxt := tr.Schedule.DDPM(index)
		var p mat.Dense
		p.Mul(tr.a, tr.a.T())
		p.Scale(variance, &p)
		for k := range 3 {
			p.Set(k, k, p.At(k, k)+s2)
		}
		for i := range images {
			n := scaled(math.Sqrt(fresh*(1-prev)), field(0, i, dim))
			floats.AddScaled(n, math.Sqrt((1-fresh)*(1-prev)/(1-ab)), before[i])
			if index == 9 {
				n = scaled(math.Sqrt(1-prev), field(0, i, dim))
			}
			assert.InDeltaSlice(t, n, tr.read(t, tr.NextCarried[0])[i], 1e-5)
			y := mat.NewVecDense(3, nil)
			y.MulVec(tr.a, mat.NewVecDense(dim, n))
			y.AddScaledVec(y, math.Sqrt(prev), mat.NewVecDense(3, tr.y[i]))
			solve := func(x []float64, noise []float64) (r, solved mat.VecDense) {
				r.MulVec(tr.a, mat.NewVecDense(dim, x))
				r.SubVec(y, &r)
				r.AddScaledVec(&r, math.Sqrt(s2), mat.NewVecDense(3, noise))
				require.NoError(t, solved.SolveVec(&p, &r))
				return r, solved
			}
			var means [particles][]float64
			var weights [particles]float64
			for q := range particles {
				l, err := tr.mix.At(states[q][i], ab)
				require.NoError(t, err)
				means[q] = make([]float64, dim)
				for k, v := range l.Tweedie(nil) {
					means[q][k] = cx0*min(max(v, -1), 1) + cxt*states[q][i][k]
				}
				r, solved := solve(means[q], make([]float64, 3))
				weights[q] = math.Exp(-mat.Dot(&r, &solved) / 2)
			}
			u := 0.5 * math.Erfc(-field(1, i, dim)[0]/math.Sqrt2)
			for q := range particles {
				a, below := 0, weights[0]
				for below < (weights[0]+weights[1]+weights[2])*(u+float64(q))/particles {
					a++
					below += weights[a]
				}
				chosen[a]++
				want := append([]float64(nil), means[a]...)
				floats.AddScaled(want, math.Sqrt(variance), field(2+2*q, i, dim))
				_, solved := solve(want, field(3+2*q, i, 3))
				var gain mat.VecDense
				gain.MulVec(tr.a.T(), &solved)
				floats.AddScaled(want, variance, gain.RawVector().Data)
				if q == 0 {
					floats.Sub(want, proposal[i])
				}
				assert.LessOrEqual(t, floats.Distance(want, next[q][i], 2), 2e-4*(1+floats.Norm(want, 2)), "step %d, image %d, particle %d", index, i, q)
			}
		}
	}
	assert.Len(t, chosen, particles, "each has been an ancestor: %v", chosen)
	for _, m := range []guide.FPS{{Fresh: 1}, {Particles: 2}, {Particles: 2, Fresh: 1.5}} {
		assert.ErrorContains(t, guide.Validate(m, nil), "particles and a share of fresh noise")
	}
}

// The particles start at noise that no draw of the first step repeats.
func TestFPSStart(t *testing.T) {
	tr := newTrial(t, true, 9, nil, nil)
	started := map[int]bool{}
	tr.Random = func(z []float32, draw int) {
		started[draw] = true
		for i := range z {
			z[i] = float32(draw)
		}
	}
	m := guide.FPS{Particles: 3, Fresh: 1}
	require.NoError(t, m.Start(tr.Step))
	assert.Len(t, started, 2)
	assert.NotEqual(t, tr.read(t, tr.Carried[1]), tr.read(t, tr.Carried[2]))
	tr.Random = func(z []float32, draw int) {
		assert.False(t, started[draw], "draw %d", draw)
		clear(z)
	}
	tr.run(t, m)
}
