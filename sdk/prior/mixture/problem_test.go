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

func TestProblemFollowsItsSeed(t *testing.T) {
	config := ProblemConfig{Components: 30, Dim: 32, Rows: 12, Orthonormal: true, Seed: 4}
	p, err := NewProblem(config)
	require.NoError(t, err)
	again, err := NewProblem(config)
	require.NoError(t, err)
	assert.Equal(t, p, again)
	config.Seed++
	other, err := NewProblem(config)
	require.NoError(t, err)
	assert.NotEqual(t, p.Y, other.Y)
	assert.NotEqual(t, p.Prior.Means, other.Prior.Means)
}

func TestProblemIsAsDescribed(t *testing.T) {
	p, err := NewProblem(ProblemConfig{Components: 500, Dim: 32, Rows: 12, Orthonormal: true, Seed: 1})
	require.NoError(t, err)
	require.NoError(t, p.Prior.Validate())
	assert.Equal(t, 0.1, p.Prior.Std)
	assert.Equal(t, 0.1, p.SigmaY)
	var gram mat.Dense
	gram.Mul(p.A, p.A.T())
	for i := range 12 {
		for j := range 12 {
			want := 0.0
			if i == j {
				want = 1
			}
			assert.InDelta(t, want, gram.At(i, j), 1e-13)
		}
	}
	assert.GreaterOrEqual(t, floats.Min(p.Prior.Weights), 0.2)
	assert.Less(t, floats.Max(p.Prior.Weights), 1.2)
	assert.InDelta(t, 0.7, floats.Sum(p.Prior.Weights)/500, 0.05)
	squares := 0.0
	for _, mu := range p.Prior.Means {
		squares += floats.Dot(mu, mu)
	}
	assert.InDelta(t, 1, squares/(500*32), 0.05)

	// Rows that are not orthonormalised have norm about 1 as well: N(0, I/n).
	wide, err := NewProblem(ProblemConfig{Components: 1, Dim: 400, Rows: 20, Std: 0.3, SigmaY: 0.2, Seed: 1})
	require.NoError(t, err)
	for i := range 20 {
		assert.InDelta(t, 1, floats.Norm(wide.A.RawRowView(i), 2), 0.2)
	}
	assert.InDelta(t, 0.3, floats.Distance(wide.Truth, wide.Prior.Means[0], 2)/20, 0.05)
	var y mat.VecDense
	y.MulVec(wide.A, mat.NewVecDense(400, wide.Truth))
	assert.InDelta(t, 0.2, floats.Distance(wide.Y, y.RawVector().Data, 2)/math.Sqrt(20), 0.12)
}

func TestProblemErrors(t *testing.T) {
	for want, c := range map[string]ProblemConfig{
		"at least 1":       {Components: 3, Dim: 4},
		"5 orthonormal":    {Components: 3, Dim: 4, Rows: 5, Orthonormal: true},
		"deviation -1":     {Components: 3, Dim: 4, Rows: 2, Std: -1},
		"sigmaY -1":        {Components: 3, Dim: 4, Rows: 2, SigmaY: -1},
		"-1 components":    {Components: -1, Dim: 4, Rows: 2},
		"dimension -4":     {Components: 3, Dim: -4, Rows: 2},
		"deviation NaN":    {Components: 3, Dim: 4, Rows: 2, Std: math.NaN()},
		"and 0 rows, want": {Components: 3, Dim: 4, Rows: 0},
	} {
		_, err := NewProblem(c)
		assert.ErrorContains(t, err, want)
	}
}

func TestSlicedWasserstein(t *testing.T) {
	m, _ := between(t, 19, 0.5)
	rng := rand.New(rand.NewPCG(19, 2))
	a, err := m.SamplePrior(2000, rng)
	require.NoError(t, err)
	b, err := m.SamplePrior(2000, rng)
	require.NoError(t, err)

	self, err := SlicedWasserstein(a, a, 200, rng)
	require.NoError(t, err)
	assert.Zero(t, self)
	same, err := SlicedWasserstein(a, b, 200, rng)
	require.NoError(t, err)
	assert.Less(t, same, 0.04) // spread 0.5, √2000 = 45

	// A shift moves every quantile by ⟨shift, direction⟩; the mean of |⟨u, e⟩|
	// over the sphere in n = 6 is Γ(3)/(√π Γ(7/2)).
	shift := []float64{3, 0, 0, 4, 0, 0}
	moved := make([][]float64, len(a))
	for i := range a {
		moved[i] = floats.AddTo(make([]float64, 6), a[i], shift)
	}
	far, err := SlicedWasserstein(a, moved, 1000, rng)
	require.NoError(t, err)
	want := 5 * math.Gamma(3) / (math.Sqrt(math.Pi) * math.Gamma(3.5))
	assert.InDelta(t, want, far, 0.15) // three standard errors

	// Same means, other spread: a distance that means alone would not see.
	wide := make([][]float64, len(a))
	for i := range a {
		wide[i] = []float64{2 * rng.NormFloat64()}
		moved[i] = []float64{rng.NormFloat64()}
	}
	spread, err := SlicedWasserstein(wide, moved, 1, rng)
	require.NoError(t, err)
	assert.InDelta(t, math.Sqrt(2/math.Pi), spread, 0.1)

	for want, c := range map[string]struct {
		a, b       [][]float64
		directions int
	}{
		"0 and 0 samples":   {nil, nil, 1},
		"1 and 2 samples":   {a[:1], a[:2], 1},
		"0 directions":      {a[:1], a[:1], 0},
		"length 1, want 6":  {a[:1], wide[:1], 1},
		"samples of length": {[][]float64{{}}, [][]float64{{}}, 1},
		"not finite":        {[][]float64{{1}}, [][]float64{{math.NaN()}}, 1},
		"too large":         {[][]float64{{1e308}, {1e308}}, [][]float64{{-1e308}, {-1e308}}, 1},
	} {
		_, err := SlicedWasserstein(c.a, c.b, c.directions, rng)
		assert.ErrorContains(t, err, want)
	}
}
