package mixture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// alphaBars reach from nearly clean to nearly pure noise.
var alphaBars = []float64{0.9995, 0.9, 0.5, 0.1, 1e-3, 4e-5}

// between returns a prior and a point x_t between two of its components, where
// responsibilities are shared and all cumulants differ from zero.
func between(t testing.TB, seed uint64, alphaBar float64) (*Mixture, []float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &Mixture{Std: 0.3}
	for range 5 {
		mu := randomVec(6, rng)
		floats.Scale(0.4, mu)
		m.Means = append(m.Means, mu)
		m.Weights = append(m.Weights, 0.2+rng.Float64())
	}
	x := randomVec(6, rng)
	floats.Scale(0.5*math.Sqrt(1-alphaBar)+0.05, x)
	floats.AddScaled(x, 0.5*math.Sqrt(alphaBar), m.Means[0])
	floats.AddScaled(x, 0.5*math.Sqrt(alphaBar), m.Means[1])
	return m, x
}

func randomVec(n int, rng *rand.Rand) []float64 {
	x := make([]float64, n)
	fillNormal(x, rng)
	return x
}

func at(t testing.TB, m *Mixture, x []float64, alphaBar float64) *Local {
	t.Helper()
	l, err := m.At(x, alphaBar)
	require.NoError(t, err)
	return l
}

// slope is df(x + εv)/dε at 0 by central differences of order eight.
func slope(t testing.TB, m *Mixture, x, v []float64, alphaBar float64, f func(*Local) []float64) []float64 {
	const order = 4
	coef := [order]float64{4. / 5, -1. / 5, 4. / 105, -1. / 280}
	h := 0.02 * math.Sqrt(alphaBar*m.Std*m.Std+1-alphaBar) / floats.Norm(v, 2)
	var sum []float64
	for i := range order {
		for _, sign := range []float64{1, -1} {
			moved := append([]float64(nil), x...)
			floats.AddScaled(moved, sign*float64(i+1)*h, v)
			value := f(at(t, m, moved, alphaBar))
			if sum == nil {
				sum = make([]float64, len(value))
			}
			floats.AddScaled(sum, sign*coef[i]/h, value)
		}
	}
	return sum
}

func assertClose(t *testing.T, want, got []float64, relative float64, msg string) {
	t.Helper()
	require.Len(t, got, len(want))
	assert.LessOrEqual(t, floats.Distance(want, got, 2), relative*floats.Norm(want, 2), "%s: want %v, got %v", msg, want, got)
}

// Each derivative is the slope of the one below it, down to the log-density.
func TestDerivativesAgainstFiniteDifferences(t *testing.T) {
	for _, ab := range alphaBars {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%g/%d", ab, seed), func(t *testing.T) {
				m, x := between(t, seed, ab)
				rng := rand.New(rand.NewPCG(seed, 2))
				v, w := randomVec(6, rng), randomVec(6, rng)
				l := at(t, m, x, ab)

				logDensity := slope(t, m, x, v, ab, func(l *Local) []float64 { return []float64{l.LogDensity()} })
				assertClose(t, []float64{floats.Dot(l.Score(nil), v)}, logDensity, 1e-8, "score")
				score := slope(t, m, x, v, ab, func(l *Local) []float64 { return l.Score(nil) })
				assertClose(t, l.HessianVec(nil, v), score, 1e-8, "Hessian")
				tweedie := slope(t, m, x, v, ab, func(l *Local) []float64 { return l.Tweedie(nil) })
				assertClose(t, l.TweedieJVP(nil, v), tweedie, 1e-8, "J")

				// The constant −I/v of the Hessian cancels in its slope: what is
				// left is small where ᾱ is, and so is the accuracy of a difference.
				if ab < 0.01 {
					return
				}
				hessian := slope(t, m, x, w, ab, func(l *Local) []float64 { return l.HessianVec(nil, v) })
				assertClose(t, l.Third(nil, v, w), hessian, 1e-7, "third derivative")
				jacobian := slope(t, m, x, w, ab, func(l *Local) []float64 { return l.TweedieJVP(nil, v) })
				assertClose(t, l.TweedieSecond(nil, v, w), jacobian, 1e-7, "D² of the Tweedie mean")
			})
		}
	}
}

// The third derivative at tiny ᾱ, where differences of the Hessian lose all
// digits, against the slope of the covariance term alone.
func TestThirdDerivativeNearPureNoise(t *testing.T) {
	for _, ab := range alphaBars[4:] {
		m, x := between(t, 7, ab)
		rng := rand.New(rand.NewPCG(7, 2))
		v, w := randomVec(6, rng), randomVec(6, rng)
		l := at(t, m, x, ab)
		g := l.p.root / l.p.variance
		spread := func(l *Local) []float64 { return l.linear(make([]float64, 6), 0, g*g, v) }
		assertClose(t, l.Third(nil, v, w), slope(t, m, x, w, ab, spread), 1e-7, "third derivative")
	}
}

func TestLogDensityIsTheMixtures(t *testing.T) {
	for _, ab := range append([]float64{0, 1}, alphaBars...) {
		m, x := between(t, 3, ab)
		v := ab*m.Std*m.Std + 1 - ab
		density, mean := 0.0, make([]float64, len(x))
		for k, mu := range m.Means {
			squared := 0.0
			for i := range x {
				d := x[i] - math.Sqrt(ab)*mu[i]
				squared += d * d
			}
			term := m.Weights[k] / floats.Sum(m.Weights) * math.Exp(-squared/(2*v)) / math.Pow(2*math.Pi*v, 3)
			density += term
			// E[x0 | x_t, k] of a Gaussian prior and a Gaussian likelihood.
			for i := range x {
				mean[i] += term * (mu[i] + math.Sqrt(ab)*m.Std*m.Std/v*(x[i]-math.Sqrt(ab)*mu[i]))
			}
		}
		floats.Scale(1/density, mean)
		l := at(t, m, x, ab)
		assert.InDelta(t, math.Log(density), l.LogDensity(), 1e-11, "alphaBar %g", ab)
		assert.InDelta(t, 1, floats.Sum(l.Responsibilities()), 1e-14)
		assertClose(t, mean, l.Tweedie(nil), 1e-13, "posterior mean")
	}
}

func TestTweedieIdentities(t *testing.T) {
	for _, ab := range alphaBars {
		m, x := between(t, 5, ab)
		l := at(t, m, x, ab)
		s2, root := 1-ab, math.Sqrt(ab)
		n := len(x)

		mean := append([]float64(nil), x...) // (x + σ² s)/√ᾱ
		floats.AddScaled(mean, s2, l.Score(nil))
		floats.Scale(1/root, mean)
		assertClose(t, mean, l.Tweedie(nil), 1e-11, "Tweedie mean") // the division by √ᾱ costs digits

		var jacobian, covariance mat.Dense
		hessian := l.Hessian()
		for i := range n {
			unit := make([]float64, n)
			unit[i] = 1
			assertClose(t, mat.Row(nil, i, hessian), l.HessianVec(nil, unit), 1e-14, "row of the Hessian")
			assertClose(t, mat.Row(nil, i, l.Jacobian()), l.TweedieJVP(nil, unit), 1e-14, "row of J")
			hessian.SetSym(i, i, hessian.At(i, i)+1/s2)
		}
		jacobian.Scale(s2/root, hessian) // (I + σ² H)/√ᾱ
		assert.True(t, mat.EqualApprox(&jacobian, l.Jacobian(), 1e-11), "J at %g", ab)
		covariance.Scale(s2/root, l.Jacobian())
		assert.True(t, mat.EqualApprox(&covariance, l.Covariance(), 1e-14), "Σ at %g", ab)
		var chol mat.Cholesky
		assert.True(t, chol.Factorize(l.Covariance()), "a covariance is positive definite")

		v, w := randomVec(n, rand.New(rand.NewPCG(1, 1))), randomVec(n, rand.New(rand.NewPCG(1, 2)))
		second := l.Third(nil, v, w)
		floats.Scale(s2/root, second)
		assertClose(t, second, l.TweedieSecond(nil, v, w), 1e-13, "D²x̂0 = (σ²/√ᾱ) ∇³")
	}
}

func TestFarTailsAreFinite(t *testing.T) {
	m := &Mixture{Weights: []float64{1, 2, 0}, Means: [][]float64{{1, 0}, {0, 1}, {5, 5}}, Std: 0.1}
	v := []float64{1, -2}
	for _, ab := range []float64{1, 0.9999, 0.5, 1e-5, 0} {
		for _, size := range []float64{1e3, -1e6, 1e30, 1e140} {
			l := at(t, m, []float64{size, 0.99 * size}, ab)
			for _, got := range [][]float64{{l.LogDensity()}, l.Score(nil), l.HessianVec(nil, v), l.Third(nil, v, v),
				l.Tweedie(nil), l.TweedieJVP(nil, v), l.TweedieSecond(nil, v, v), l.Covariance().RawSymmetric().Data} {
				assert.True(t, finite(got), "alphaBar %g, x %g: %v", ab, size, got)
			}
			assert.Zero(t, l.Responsibilities()[2])
			gradient := make([]float64, 2)
			info, err := l.Information(gradient, mat.NewDense(1, 2, v), 0.1)
			require.NoError(t, err)
			assert.True(t, finite(append(gradient, info)))
		}
	}
	// Far along the first axis only the first component is left: one Gaussian.
	l := at(t, m, []float64{1e3, 0}, 0.5)
	assert.InDelta(t, (math.Sqrt(0.5)-1e3)/(0.5*0.01+0.5), l.Score(nil)[0], 1e-9)
}

// With nearly all responsibility on one component the covariance of two means
// is r(1−r) times the square of their distance, far below the moments.
func TestTinyCovarianceKeepsItsDigits(t *testing.T) {
	m := &Mixture{Weights: []float64{1, 1}, Means: [][]float64{{3}, {2}}, Std: 1}
	l := at(t, m, []float64{24.5}, 1) // log r₁/r₂ = 24.5 − 2.5 = 22
	r := 1 / (1 + math.Exp(22))
	got := l.Hessian().At(0, 0)
	assert.InDelta(t, r*(1-r), l.linear([]float64{0}, 0, 1, []float64{1})[0], 1e-5*r)
	assert.InDelta(t, -1+r, got, 1e-14)
}

func TestPointErrors(t *testing.T) {
	good := Mixture{Weights: []float64{1, 1}, Means: [][]float64{{1, 2}, {3, 4}}, Std: 0.1}
	for want, bad := range map[string]Mixture{
		"no components":     {Std: 1},
		"1 weights":         {Weights: good.Weights[:1], Means: good.Means, Std: 1},
		"deviation 0":       {Weights: good.Weights, Means: good.Means},
		"deviation NaN":     {Weights: good.Weights, Means: good.Means, Std: math.NaN()},
		"weight 1 is -1":    {Weights: []float64{1, -1}, Means: good.Means, Std: 1},
		"weight 0 is NaN":   {Weights: []float64{math.NaN(), 1}, Means: good.Means, Std: 1},
		"sum to 0":          {Weights: []float64{0, 0}, Means: good.Means, Std: 1},
		"mean 1 has length": {Weights: good.Weights, Means: [][]float64{{1, 2}, {3}}, Std: 1},
		"mean 0 holds":      {Weights: good.Weights, Means: [][]float64{{1, math.Inf(1)}, {3, 4}}, Std: 1},
	} {
		_, err := bad.At([]float64{0, 0}, 0.5)
		assert.ErrorContains(t, err, want)
		_, err = bad.SamplePrior(1, rand.New(rand.NewPCG(1, 1)))
		assert.ErrorContains(t, err, want)
	}
	for _, ab := range []float64{-0.1, 1.1, math.NaN()} {
		_, err := good.At([]float64{0, 0}, ab)
		assert.ErrorContains(t, err, "alphaBar")
	}
	_, err := good.At([]float64{0}, 0.5)
	assert.ErrorContains(t, err, "length 1, want 2")
	for _, x := range []float64{math.NaN(), math.Inf(1), 1e200} {
		_, err = good.At([]float64{0, x}, 0.5)
		assert.ErrorContains(t, err, "log-density")
	}
	l := at(t, &good, []float64{0, 0}, 0.5)
	assert.Panics(t, func() { l.HessianVec(nil, []float64{1}) })
}
