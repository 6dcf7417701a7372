package mixture

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// logNormal returns log N(d; 0, u uᵀ).
func logNormal(t *testing.T, u mat.Matrix, d []float64) float64 {
	t.Helper()
	var z mat.VecDense
	require.NoError(t, z.SolveVec(u, mat.NewVecDense(len(d), d)))
	logDet, _ := mat.LogDet(u)
	return -mat.Dot(&z, &z)/2 - float64(len(d))/2*math.Log(2*math.Pi) - logDet
}

// Bayes' rule: p(x0) p(y|x0)/p(x0|y) is p(y) at any x0, and p(y) is a mixture
// of N(A μ_k, σ0² A Aᵀ + σ_y² I).
func TestPosteriorIsBayesRule(t *testing.T) {
	m, _ := between(t, 13, 0.5)
	m.Weights[3] = 0
	rng := rand.New(rand.NewPCG(13, 2))
	a := mat.NewDense(2, 6, randomVec(12, rng))
	y := []float64{0.4, -0.3}
	const sigmaY = 0.4
	post, err := m.Posterior(a, y, sigmaY)
	require.NoError(t, err)
	assert.InDelta(t, 1, floats.Sum(post.Weights), 1e-14)
	assert.Zero(t, post.Weights[3])

	image := func(x []float64) []float64 {
		var ax mat.VecDense
		ax.MulVec(a, mat.NewVecDense(6, x))
		return floats.SubTo(make([]float64, 2), y, ax.RawVector().Data)
	}
	var g mat.Dense
	g.Mul(a, a.T())
	g.Scale(m.Std*m.Std, &g)
	sym := mat.NewSymDense(2, []float64{g.At(0, 0) + sigmaY*sigmaY, g.At(0, 1), g.At(0, 1), g.At(1, 1) + sigmaY*sigmaY})
	var chol mat.Cholesky
	require.True(t, chol.Factorize(sym))
	var lower mat.TriDense
	chol.LTo(&lower)
	terms := make([]float64, 5)
	for k, mu := range m.Means {
		terms[k] = math.Log(m.Weights[k]/floats.Sum(m.Weights)) + logNormal(t, &lower, image(mu))
	}
	evidence := floats.LogSumExp(terms)
	for k, w := range post.Weights {
		assert.InDelta(t, math.Exp(terms[k]-evidence), w, 1e-13, "weight %d", k)
	}

	for range 5 {
		x := randomVec(6, rng)
		for k, mean := range post.Means {
			d := floats.SubTo(make([]float64, 6), x, mean)
			terms[k] = math.Log(post.Weights[k]) + logNormal(t, post.Factor, d)
		}
		noise := mat.NewDiagDense(2, []float64{sigmaY, sigmaY})
		joint := at(t, m, x, 1).LogDensity() + logNormal(t, noise, image(x))
		assert.InDelta(t, evidence, joint-floats.LogSumExp(terms), 1e-9)
	}
}

// The first two moments of posterior samples against prior samples weighted by
// the likelihood.
func TestPosteriorSamplesAgainstImportanceSampling(t *testing.T) {
	m, _ := between(t, 17, 0.5)
	rng := rand.New(rand.NewPCG(17, 2))
	a := mat.NewDense(2, 6, randomVec(12, rng))
	y, sigmaY := []float64{0.5, 0.2}, 0.5
	post, err := m.Posterior(a, y, sigmaY)
	require.NoError(t, err)

	const count = 60000
	prior, err := m.SamplePrior(count, rng)
	require.NoError(t, err)
	likelihood := make([]float64, count)
	for i, x := range prior {
		squared := 0.0
		for j := range y {
			r := y[j] - floats.Dot(a.RawRowView(j), x)
			squared += r * r
		}
		likelihood[i] = math.Exp(-squared / (2 * sigmaY * sigmaY))
	}
	wantMean, wantCov := moments(prior, likelihood)
	gotMean, gotCov := moments(post.Sample(count, rng), ones(count))
	// Standard errors are about 0.5/√60000 = 0.002, twice that when weighted.
	assert.InDeltaSlice(t, wantMean, gotMean, 0.02)
	assert.InDeltaSlice(t, wantCov.RawMatrix().Data, gotCov.RawMatrix().Data, 0.02)
	assert.Greater(t, floats.Distance(wantMean, meanOf(prior), 2), 0.1, "the measurement must matter")
}

// With one component the posterior is the Gaussian of linear regression.
func TestPosteriorOfOneGaussian(t *testing.T) {
	m := &Mixture{Weights: []float64{2}, Means: [][]float64{{1, -1}}, Std: 0.5}
	post, err := m.Posterior(mat.NewDense(1, 2, []float64{2, 0}), []float64{4}, 0.5)
	require.NoError(t, err)
	// Coordinate 0: precision 4 + 4·4 = 20, mean (4·1 + 4·2·4)/20 = 1.8.
	assert.InDeltaSlice(t, []float64{1.8, -1}, post.Means[0], 1e-13)
	var cov mat.Dense
	cov.Mul(post.Factor, post.Factor.T())
	assert.InDeltaSlice(t, []float64{0.05, 0, 0, 0.25}, cov.RawMatrix().Data, 1e-13)
	_, sampled := moments(post.Sample(20000, rand.New(rand.NewPCG(2, 2))), ones(20000))
	assert.InDeltaSlice(t, cov.RawMatrix().Data, sampled.RawMatrix().Data, 0.01)
}

func TestPosteriorErrors(t *testing.T) {
	m := &Mixture{Weights: []float64{1}, Means: [][]float64{{1, -1}}, Std: 0.5}
	a, y := mat.NewDense(1, 2, []float64{1, 1}), []float64{1}
	l := at(t, m, []float64{0, 0}, 0.5)
	for want, c := range map[string]struct {
		a      *mat.Dense
		y      []float64
		sigmaY float64
	}{
		"no measurement matrix": {nil, y, 0.1},
		"2 × 1, want 2 columns": {mat.NewDense(2, 1, nil), y, 0.1},
		"row 0":                 {mat.NewDense(1, 2, []float64{1, math.NaN()}), y, 0.1},
		"sigmaY 0":              {a, y, 0},
		"sigmaY NaN":            {a, y, math.NaN()},
		"length 2, want 1":      {a, []float64{1, 1}, 0.1},
		"no likelihood":         {a, []float64{1e200}, 0.1},
	} {
		_, err := m.Posterior(c.a, c.y, c.sigmaY)
		assert.ErrorContains(t, err, want)
		if len(c.y) == 1 && c.y[0] == 1 {
			_, err = l.Information(nil, c.a, c.sigmaY)
			assert.ErrorContains(t, err, want)
		}
	}
	_, err := l.Information([]float64{0}, a, 0.1)
	assert.ErrorContains(t, err, "gradient of length 1, want 2")
}

func ones(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

func meanOf(samples [][]float64) []float64 {
	mean, _ := moments(samples, ones(len(samples)))
	return mean
}

// moments returns the weighted mean and covariance.
func moments(samples [][]float64, weights []float64) ([]float64, *mat.Dense) {
	n, total := len(samples[0]), floats.Sum(weights)
	mean, cov := make([]float64, n), mat.NewDense(n, n, nil)
	for i, x := range samples {
		floats.AddScaled(mean, weights[i]/total, x)
	}
	d := make([]float64, n)
	for i, x := range samples {
		floats.SubTo(d, x, mean)
		v := mat.NewVecDense(n, d)
		cov.RankOne(cov, weights[i]/total, v, v)
	}
	return mean, cov
}
