package referee_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
	"github.com/cmi-diffusion/cmi/sdk/referee"
)

// On mixtures in 8 dimensions with 3 measurements pathwise conditioning is far from exact samples, and that is the
// Gaussian N(x̂0, Σ) that it takes for p(x0 | x_t), nothing else: the exact mean and covariance of p(x0 | x_t) and dense
// algebra are as far, while draws from the Gaussian that has the exact moments of p(x0 | x_t, y) are near the floor
// in a quarter of the steps.
func TestPathwisesErrorIsTheGaussian(t *testing.T) {
	s, eta := referee.Particles().Setting, 1.0
	s.Problems, s.Samples = 1, 60
	v := judge(t, s, referee.Arm{Name: "pathwise", Method: guide.Pathwise{Root: 8, Solve: 3}, DDIM: &eta})
	product, dense, exact := referee.Mean(v[0].Distance), chained(t, s, 200, gaussianGivenY), chained(t, s, 50, momentsGivenY)
	floor := self(t, s)
	t.Logf("pathwise %.3f, the same in dense algebra %.3f, moments given y %.3f, exact samples %.3f", product, dense, exact, floor)
	assert.InDelta(t, product, dense, 0.35*product)
	assert.Greater(t, dense, 5*floor)
	assert.Less(t, exact, 2.5*floor)
}

// belief returns the mean and the covariance of x0 given x_t and y that a reverse step is drawn through.
type belief func(t *testing.T, p *mixture.Problem, x []float64, alphaBar float64) (mean []float64, covariance *mat.SymDense)

// chained returns the distance of a setting's first problem to exact samples for the reverse chain x0 ~ N(mean, covariance),
// x_s by DDIM with η = 1 from x0.
func chained(t *testing.T, setting referee.Setting, steps int, given belief) float64 {
	t.Helper()
	betas, _, err := referee.Schedule()
	require.NoError(t, err)
	s, err := diffusion.New(betas, steps)
	require.NoError(t, err)
	p, err := mixture.NewProblem(mixture.ProblemConfig{Components: setting.Components, Dim: setting.Dim, Rows: setting.Rows, Orthonormal: setting.Orthonormal, Seed: setting.Seed})
	require.NoError(t, err)
	posterior, err := p.Posterior()
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(setting.Seed, 7))
	normals := func() []float64 {
		z := make([]float64, setting.Dim)
		for i := range z {
			z[i] = rng.NormFloat64()
		}
		return z
	}
	samples := make([][]float64, setting.Samples)
	for k := range samples {
		x := normals()
		for i := s.Len() - 1; i >= 0; i-- {
			x0, covariance := given(t, p, x, s.AlphaBar(i))
			var e mat.EigenSym
			require.True(t, e.Factorize(covariance, true))
			var u mat.Dense
			e.VectorsTo(&u)
			xi, z := normals(), normals()
			for j, v := range e.Values(nil) {
				xi[j] *= math.Sqrt(max(v, 0))
			}
			var root mat.VecDense
			root.MulVec(&u, mat.NewVecDense(len(xi), xi))
			floats.Add(x0, root.RawVector().Data)
			cx0, ceps, sigma := s.DDIM(i, 1)
			ext, ex0 := s.Epsilon(i)
			for j := range x {
				x[j] = cx0*x0[j] + ceps*(ext*x[j]+ex0*x0[j]) + sigma*z[j]
			}
		}
		samples[k] = x
	}
	distance, err := mixture.SlicedWasserstein(samples, posterior.Sample(setting.Samples, rand.New(rand.NewPCG(setting.Seed, 1))), 200, rng)
	require.NoError(t, err)
	return distance
}

// gaussianGivenY is N(x̂0, Σ) given y, with the exact moments x̂0 and Σ of p(x0 | x_t).
func gaussianGivenY(t *testing.T, p *mixture.Problem, x []float64, alphaBar float64) ([]float64, *mat.SymDense) {
	l, err := p.Prior.At(x, alphaBar)
	require.NoError(t, err)
	mean, covariance := l.Tweedie(nil), l.Covariance()
	var cross, s, solved, taken mat.Dense
	cross.Mul(covariance, p.A.T())
	s.Mul(p.A, &cross)
	var residual, weights, gain mat.VecDense
	residual.MulVec(p.A, mat.NewVecDense(len(mean), mean))
	residual.SubVec(mat.NewVecDense(len(p.Y), p.Y), &residual)
	for i := range p.Y {
		s.Set(i, i, s.At(i, i)+p.SigmaY*p.SigmaY)
	}
	require.NoError(t, weights.SolveVec(&s, &residual))
	gain.MulVec(&cross, &weights)
	floats.Add(mean, gain.RawVector().Data)
	require.NoError(t, solved.Solve(&s, cross.T()))
	taken.Mul(&cross, &solved)
	for i := range mean {
		for j := i; j < len(mean); j++ {
			covariance.SetSym(i, j, covariance.At(i, j)-taken.At(i, j))
		}
	}
	return mean, covariance
}

// momentsGivenY are the exact mean and covariance of p(x0 | x_t, y): of the mixture given y and, as further measurements
// of the same noise, (σ_y/σ_t) x_t.
func momentsGivenY(t *testing.T, p *mixture.Problem, x []float64, alphaBar float64) ([]float64, *mat.SymDense) {
	rows, n := p.A.Dims()
	a, y := mat.NewDense(rows+n, n, nil), append([]float64(nil), p.Y...)
	a.Slice(0, rows, 0, n).(*mat.Dense).Copy(p.A)
	for i, v := range x {
		scale := p.SigmaY / math.Sqrt(1-alphaBar)
		a.Set(rows+i, i, scale*math.Sqrt(alphaBar))
		y = append(y, scale*v)
	}
	posterior, err := p.Prior.Posterior(a, y, p.SigmaY)
	require.NoError(t, err)
	mean := make([]float64, n)
	for k, w := range posterior.Weights {
		floats.AddScaled(mean, w, posterior.Means[k])
	}
	covariance := covarianceOfFactor(posterior.Factor)
	for k, w := range posterior.Weights {
		off := mat.NewVecDense(n, nil)
		off.SubVec(mat.NewVecDense(n, posterior.Means[k]), mat.NewVecDense(n, mean))
		covariance.SymRankOne(covariance, w, off)
	}
	return mean, covariance
}

// covarianceOfFactor returns U Uᵀ.
func covarianceOfFactor(u *mat.TriDense) *mat.SymDense {
	var c mat.SymDense
	c.SymOuterK(1, u)
	return &c
}
