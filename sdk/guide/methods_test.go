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
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// DPS steps along −ζ∇‖y − A x̂0‖₂, one norm for each image, through the clamp where
// the sampler clips.
func TestDPSIsTheGradient(t *testing.T) {
	for _, clips := range []bool{false, true} {
		for _, index := range []int{1, 5, 9} {
			tr := newTrial(t, clips, index, nil, nil)
			got := tr.run(t, guide.DPS{Scale: 0.7})
			for i := range images {
				want := tr.slope(t, i, func(l *mixture.Local) float64 { return mat.Norm(tr.innovation(i, l, clips), 2) })
				assert.LessOrEqual(t, relative(got[i], scaled(-0.7, want)), 1e-4, "clips %v, step %d, image %d", clips, index, i)
			}
		}
	}
}

// The limit shortens each image's step to a fraction of its residual, and leaves
// steps below it as they are.
func TestDPSLimit(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	step := tr.run(t, guide.DPS{Scale: 1})
	for _, c := range []struct {
		scale   float64
		copies  int
		weights []float64
		limited [images]bool
	}{
		{1e4, 0, nil, [images]bool{true, true, true}},
		{1e-3, 0, nil, [images]bool{}},
		{-1e4, 0, nil, [images]bool{}}, // away from the measurement there is nothing to overshoot
		{1e-3, 0, []float64{1, 1e7, 1}, [images]bool{1: true}},
		{1e4, 1, nil, [images]bool{true, true, true}},
	} {
		free := tr.run(t, guide.DPS{Scale: c.scale, Copies: c.copies, Weights: c.weights})
		got := tr.run(t, guide.DPS{Scale: c.scale, Copies: c.copies, Weights: c.weights, Limit: 0.5})
		guidance := append([]float64(nil), tr.Guidance...)
		for i := range images {
			if !c.limited[i] {
				assert.Equal(t, free[i], got[i], "%+v, image %d", c, i)
				continue
			}
			l, err := tr.mix.At(tr.x[i], tr.alphaBar)
			require.NoError(t, err)
			residual, g := mat.Norm(tr.innovation(i, l, true), 2), floats.Norm(step[i], 2)
			want, bound := scaled(0.5*residual/(g*g), step[i]), 1e-4
			if c.copies > 0 { // a little off by the noise of the copy
				bound = 0.2
			}
			assert.LessOrEqual(t, relative(got[i], want), bound, "%+v, image %d", c, i)
			assert.InEpsilon(t, floats.Norm(got[i], 2), guidance[i], 1e-4)
		}
	}
	for _, steps := range []int{20, 999} {
		assert.Equal(t, guide.DPS{Scale: 300 / float64(steps), Limit: 0.5}, guide.DPSFor("sr4", steps))
	}
	assert.Equal(t, guide.DPS{Scale: 0.3}, guide.DPSFor("blur", 1000), "as published")
	for limit, want := range map[float64]float64{-1: 0, 0: 0.5, 0.8: 0.8} {
		assert.Equal(t, guide.DPS{Scale: 6, Limit: want}, guide.Named["dps"](guide.Settings{Task: "sr4", Steps: 50, Limit: limit}))
	}
	assert.Equal(t, guide.DPS{Scale: 2, Copies: 5, Limit: 0.5}, guide.Named["dps+"](guide.Settings{Task: "sr4", Steps: 50, Scale: 2}))
}

// DPS+ averages the norm over copies of x̂0 with uniform noise, and takes a weight for
// each image.
func TestDPSOverNoisyCopies(t *testing.T) {
	const copies = 3
	for _, clips := range []bool{false, true} {
		tr := newTrial(t, clips, 5, nil, nil)
		got := tr.run(t, guide.DPS{Scale: 0.7, Copies: copies, Weights: []float64{1, 0.5, 2}})
		z := make([]float32, images*dim)
		for i, weight := range []float64{1, 0.5, 2} {
			want := tr.slope(t, i, func(l *mixture.Local) float64 {
				sum := 0.0
				for k := range copies {
					tr.Random(z, k)
					u := mat.NewVecDense(dim, nil)
					for p := range dim {
						u.SetVec(p, 0.05*0.5*math.Erfc(-float64(z[i*dim+p])/math.Sqrt2))
					}
					r := tr.innovation(i, l, clips)
					var au mat.VecDense
					au.MulVec(tr.a, u)
					r.SubVec(r, &au)
					sum += mat.Norm(r, 2) / copies
				}
				return sum
			})
			assert.LessOrEqual(t, relative(got[i], scaled(-0.7*weight, want)), 1e-4, "clips %v, image %d", clips, i)
		}
	}
	tr := newTrial(t, true, 5, nil, nil)
	assert.ErrorContains(t, guide.DPS{Scale: 1, Weights: []float64{1}}.Step(tr.Step), "1 weights for 3 images")
}

// The clamp has something to do in that test: some values are clipped, not all.
func TestClampMatters(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	outside := 0
	for _, x0 := range tr.read(t, tr.X0) {
		for _, v := range x0 {
			if math.Abs(v) > 1 {
				outside++
			}
		}
	}
	assert.Greater(t, outside, 2)
	assert.Less(t, outside, images*dim-2)
	plain := newTrial(t, false, 5, nil, nil).run(t, guide.DPS{Scale: 0.7})
	assert.Greater(t, relative(tr.run(t, guide.DPS{Scale: 0.7})[0], plain[0]), 0.01)
}

// A residual of zero is no gradient, beside images that have one.
func TestDPSWithoutResidual(t *testing.T) {
	tr := newTrial(t, false, 5, nil, nil)
	want := tr.run(t, guide.DPS{Scale: 1})
	tr.Operator.Apply(tr.Y.Images(1, 2), tr.X0.Images(1, 2))
	got := tr.run(t, guide.DPS{Scale: 1})
	assert.Equal(t, make([]float64, dim), got[1])
	assert.Zero(t, tr.Guidance[1])
	assert.Equal(t, want[0], got[0])
	assert.Equal(t, want[2], got[2])
}

func TestUnconditional(t *testing.T) {
	tr := newTrial(t, true, 5, nil, nil)
	for _, moved := range tr.run(t, guide.Unconditional{}) {
		assert.Equal(t, make([]float64, dim), moved)
	}
	assert.Equal(t, []float64{0, 0, 0}, tr.Guidance)
}

// ΠGDM pulls Aᵀ P⁻¹ (y − A x̂0) back, the gradient of log N(y; A x̂0, P) with P held
// fixed; published form and guided mean.
func TestPiGDMIsTheGradient(t *testing.T) {
	for _, c := range []struct{ sigma, floor, used float64 }{{0.2, 0, 0.2}, {0.2, 0.5, 0.5}} {
		tr := newTrial(t, false, 5, nil, nil)
		tr.SigmaY = c.sigma
		sched, i := tr.Schedule, tr.Index
		published := tr.run(t, guide.PiGDM{Scale: 0.9, MinSigmaY: c.floor})
		guided := tr.run(t, guide.PiGDM{Scale: 0.9, MinSigmaY: c.floor, GuidedMean: true})
		var p mat.Dense
		p.Mul(tr.a, tr.a.T())
		p.Scale(1-tr.alphaBar, &p)
		for k := range 3 {
			p.Set(k, k, p.At(k, k)+c.used*c.used)
		}
		for image := range images {
			g := tr.slope(t, image, func(l *mixture.Local) float64 {
				r := tr.innovation(image, l, false)
				var solved mat.VecDense
				require.NoError(t, solved.SolveVec(&p, r))
				return -mat.Dot(r, &solved) / 2
			})
			assert.LessOrEqual(t, relative(published[image], scaled(0.9*math.Sqrt(sched.AlphaBarPrev(i)*tr.alphaBar)*(1-tr.alphaBar), g)), 1e-4)
			assert.LessOrEqual(t, relative(guided[image], scaled(0.9*sched.Beta(i)/math.Sqrt(1-sched.Beta(i)), g)), 1e-4)
		}
	}
}

// Evidence is the gradient of log N(y; A x̂0, A Σ Aᵀ + σ_y² I) with all its parts:
// drift and innovation curvature here, less ∇I, the information term's.
func TestEvidenceIsTheGradient(t *testing.T) {
	for _, index := range []int{3, 7} {
		tr := newTrial(t, false, index, nil, nil)
		beta := tr.Schedule.Beta(index)
		drift := tr.run(t, guide.Evidence{Scale: 1, Lanczos: 3})
		both := tr.run(t, guide.Evidence{Scale: 1, Lanczos: 3, Curvature: guide.Curvature{Weight: 1}})
		for i := range images {
			want := tr.slope(t, i, func(l *mixture.Local) float64 {
				var s mat.Dense
				s.Product(tr.a, l.Covariance(), tr.a.T())
				for k := range 3 {
					s.Set(k, k, s.At(k, k)+tr.SigmaY*tr.SigmaY)
				}
				r := tr.innovation(i, l, false)
				var solved mat.VecDense
				require.NoError(t, solved.SolveVec(&s, r))
				logDet, _ := mat.LogDet(&s)
				return -(mat.Dot(r, &solved) + logDet) / 2
			})
			l, err := tr.mix.At(tr.x[i], tr.alphaBar)
			require.NoError(t, err)
			got := make([]float64, dim) // −∇I
			_, err = l.Information(got, tr.a, tr.SigmaY)
			require.NoError(t, err)
			floats.Scale(-1, got)
			curvature := floats.SubTo(make([]float64, dim), both[i], drift[i])
			floats.AddScaled(got, 1/beta, curvature)
			floats.AddScaled(got, math.Sqrt(1-beta)/beta, drift[i])
			assert.LessOrEqual(t, relative(got, want), 3e-4, "step %d, image %d", index, i)
			assert.Greater(t, floats.Norm(curvature, 2)/beta, 3e-3*floats.Norm(want, 2), "a part that can be seen")
		}
	}
}

// The curvature keeps to its window and its radius.
func TestCurvatureLimits(t *testing.T) {
	tr := newTrial(t, false, 5, nil, nil)
	drift := tr.run(t, guide.PiGDM{Scale: 1})
	lengths := append([]float64(nil), tr.Guidance...)
	full := tr.run(t, guide.PiGDM{Scale: 1, Curvature: guide.Curvature{Weight: 1e3}})
	assert.Equal(t, drift, tr.run(t, guide.PiGDM{Scale: 1, Curvature: guide.Curvature{Weight: 1, MinAlphaBar: 0.99}}))
	limited := tr.run(t, guide.PiGDM{Scale: 1, Curvature: guide.Curvature{Weight: 1e3, TrustGuidance: 0.01}})
	for i := range images {
		part := floats.SubTo(make([]float64, dim), limited[i], drift[i])
		whole := floats.SubTo(make([]float64, dim), full[i], drift[i])
		assert.InEpsilon(t, 0.01*lengths[i], floats.Norm(part, 2), 1e-3)
		assert.LessOrEqual(t, relative(scaled(floats.Norm(whole, 2)/floats.Norm(part, 2), part), whole), 1e-3, "the direction stays")
	}
}

// DSG puts the sample on the sphere of the step's noise, nearer to the steepest
// descent the higher its rate.
func TestDSG(t *testing.T) {
	tr := newTrial(t, true, 6, nil, nil)
	descent := tr.run(t, guide.DPS{Scale: 1})
	proposal, mean := tr.read(t, tr.Proposal), tr.read(t, tr.Mean)
	last := []float64{-1, -1, -1}
	for _, rate := range []float64{0, 0.2, 0.6, 1} {
		moved := tr.run(t, guide.DSG{Interval: 3, Rate: rate})
		for i := range images {
			d := floats.AddTo(make([]float64, dim), moved[i], proposal[i])
			floats.Sub(d, mean[i])
			assert.InEpsilon(t, radius, floats.Norm(d, 2), 1e-4, "rate %v", rate)
			cosine := floats.Dot(d, descent[i]) / radius / floats.Norm(descent[i], 2)
			assert.Greater(t, cosine, last[i], "rate %v", rate)
			last[i] = cosine

			want := floats.SubTo(make([]float64, dim), proposal[i], mean[i])
			floats.Scale(1-rate, want)
			floats.AddScaled(want, rate*radius/floats.Norm(descent[i], 2), descent[i])
			assert.LessOrEqual(t, relative(d, scaled(radius/floats.Norm(want, 2), want)), 1e-4, "rate %v", rate)
		}
	}
	assert.InDeltaSlice(t, []float64{1, 1, 1}, last, 1e-5)
	for name, c := range map[string]struct{ index, interval int }{"between": {6, 4}, "the last step": {0, 1}} {
		tr := newTrial(t, true, c.index, nil, nil)
		for _, moved := range tr.run(t, guide.DSG{Interval: c.interval, Rate: 1}) {
			assert.Equal(t, make([]float64, dim), moved, name)
		}
		assert.Equal(t, []float64{0, 0, 0}, tr.Guidance, name)
	}
}

// MCG and projection put the measurement, at the step's noise level, where it was
// measured; MCG takes DPS's step with unit scale elsewhere. A matrix without a cheap
// lift gets the damped pseudo-inverse.
func TestProjections(t *testing.T) {
	keep := []float32{1, 0, 0, 1, 1, 0, 1, 0}
	diagonal := mat.NewDense(dim, dim, nil)
	for i, v := range keep {
		diagonal.Set(i, i, float64(v))
	}
	tr := newTrial(t, true, 5, diagonal, func(dev compute.Device) (measure.Linear, error) { return measure.NewMask(dev, 1, 1, dim, keep) })
	step := tr.run(t, guide.DPS{Scale: 1})
	for _, m := range []guide.Method{guide.MCG{}, guide.Projection{}} {
		tr.run(t, m)
		next, proposal := tr.read(t, tr.Next), tr.read(t, tr.Proposal)
		for i := range images {
			for k := range dim {
				want := proposal[i][k]
				if m.Name() == "mcg" {
					want += step[i][k]
				}
				if keep[k] == 1 {
					want = math.Sqrt(tr.alphaBar)*tr.y[i][k] + math.Sqrt(1-tr.alphaBar)*float64(tr.noise[i*dim+k])
				}
				assert.InDelta(t, want, next[i][k], 1e-5, "%s, image %d, pixel %d", m.Name(), i, k)
			}
		}
	}

	tr = newTrial(t, true, 5, nil, nil)
	tr.run(t, guide.Projection{})
	next, proposal := tr.read(t, tr.Next), tr.read(t, tr.Proposal)
	var gram mat.Dense
	gram.Mul(tr.a, tr.a.T())
	for k := range 3 {
		gram.Set(k, k, gram.At(k, k)+tr.SigmaY*tr.SigmaY)
	}
	for i := range images {
		gap := mat.NewVecDense(3, nil)
		gap.MulVec(tr.a, mat.NewVecDense(dim, proposal[i]))
		for k := range 3 {
			gap.SetVec(k, math.Sqrt(tr.alphaBar)*tr.y[i][k]+math.Sqrt(1-tr.alphaBar)*float64(tr.noise[i*3+k])-gap.AtVec(k))
		}
		var solved, back mat.VecDense
		require.NoError(t, solved.SolveVec(&gram, gap))
		back.MulVec(tr.a.T(), &solved)
		assert.InDeltaSlice(t, floats.AddTo(make([]float64, dim), proposal[i], back.RawVector().Data), next[i], 1e-4)
	}
}
