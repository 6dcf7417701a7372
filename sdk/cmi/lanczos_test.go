package cmi_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// linear returns a denoiser with any matrix for its Jacobian, symmetric or not, and
// D²x̂0[v, w] = v ⊙ w, so that a gradient is ½ c v².
func linear(t testing.TB, dev compute.Device, j mat.Matrix, images int) *host {
	h := newHost(t, dev, images)
	h.jvp = func(_ int, dst, v []float64) {
		mat.NewVecDense(len(dst), dst).MulVec(j, mat.NewVecDense(len(v), v))
	}
	h.second = func(_ int, dst, v, w []float64) { floats.MulTo(dst, v, w) }
	return h
}

// exactDirection is v = Aᵀ P^(−½) Ŝ^(−½) z in float64 with all eigenvalues of
// Ŝ = P^(−½)(c A J Aᵀ + σ_y² I)P^(−½), symmetrised; one that is not above the level
// without any variance, σ_y²/(r² λ_max + σ_y²), has weight zero.
func exactDirection(t testing.TB, a *mat.Dense, j mat.Matrix, l krylov.Level, z []float64) []float64 {
	t.Helper()
	rows, cols := a.Dims()
	var gram, s, hat mat.Dense
	gram.Mul(a, a.T())
	s2, largest := l.SigmaY*l.SigmaY, 0.0
	root := function(t, symmetric(&gram), func(e float64) float64 {
		largest = max(largest, e)
		return 1 / math.Sqrt((1-l.AlphaBar)*e+s2)
	})
	s.Product(a, j, a.T())
	s.Scale((1-l.AlphaBar)/math.Sqrt(l.AlphaBar), &s)
	for i := range rows {
		s.Set(i, i, s.At(i, i)+s2)
	}
	hat.Product(root, &s, root)
	weight := function(t, symmetric(&hat), func(e float64) float64 {
		if e <= s2/((1-l.AlphaBar)*largest+s2)+1e-9 { // float64's rounding
			return 0
		}
		return 1 / math.Sqrt(e)
	})
	var v mat.Dense
	v.Product(a.T(), root, weight, mat.NewDense(rows, 1, z))
	return append(make([]float64, 0, cols), v.RawMatrix().Data...)
}

func randomMatrix(rows, cols int, seed uint64) *mat.Dense {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := mat.NewDense(rows, cols, nil)
	for i := range m.RawMatrix().Data {
		m.RawMatrix().Data[i] = rng.NormFloat64() / math.Sqrt(float64(cols))
	}
	return m
}

func denseOperator(t testing.TB, dev compute.Device, a mat.Matrix) measure.Linear {
	t.Helper()
	op, err := measure.NewDense(dev, a)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	return op
}

// A Jacobian that is neither symmetric nor positive, as a network's: with as many
// steps as measurements the direction is the exact one, in which directions without
// variance have no part.
func TestDirectionOfIndefiniteJacobian(t *testing.T) {
	dev := device(t)
	const rows, cols = 6, 9
	a := randomMatrix(rows, cols, 1)
	op := denseOperator(t, dev, a)
	l := krylov.Level{AlphaBar: 0.4, SigmaY: 0.3}
	for seed := range uint64(6) {
		j := randomMatrix(cols, cols, 10+seed)
		for i := range cols {
			j.Set(i, i, j.At(i, i)+0.4)
		}
		z := make([]float32, rows)
		random(seed, z)
		want := exactDirection(t, a, j, l, wide(z))
		v, err := newTerm(t, dev, op, 1, options(cmi.Probe, rows, 1)).Direction(linear(t, dev, j, 1), l, z)
		require.NoError(t, err)
		assert.LessOrEqual(t, relative(split(t, dev, v)[0], want), 1e-3, "seed %d", seed)

		// The transposed Jacobian has the same symmetric part, so the same direction.
		v, err = newTerm(t, dev, op, 1, options(cmi.Probe, rows, 1)).Direction(linear(t, dev, j.T(), 1), l, z)
		require.NoError(t, err)
		assert.LessOrEqual(t, relative(split(t, dev, v)[0], want), 1e-3, "seed %d, transposed", seed)
	}
}

// Some of those matrices do have directions without variance: dropping the floor, or
// clamping to it, would be seen.
func TestDirectionDropsWhatHasNoVariance(t *testing.T) {
	dev := device(t)
	l := krylov.Level{AlphaBar: 0.5, SigmaY: 0.1}
	identity := mat.NewDiagDense(4, []float64{1, 1, 1, 1})
	op := denseOperator(t, dev, identity)
	j := mat.NewDiagDense(4, []float64{0.7, -2, -1e-4, 0.2}) // variance in the first and last only
	z := []float32{1, -1, 1, -1}
	for _, k := range []int{4, 7} {
		v, err := newTerm(t, dev, op, 1, options(cmi.Probe, k, 1)).Direction(linear(t, dev, j, 1), l, z)
		require.NoError(t, err)
		got := split(t, dev, v)[0]
		want := []float64{1 / math.Sqrt(l.C()*0.7+0.01), 0, 0, -1 / math.Sqrt(l.C()*0.2+0.01)}
		assert.InDeltaSlice(t, want, got, 2e-3*want[0], "K = %d", k)
	}
	// The floor follows the operator: with A = 2 I a smaller eigenvalue still has variance.
	double := mat.NewDiagDense(4, []float64{2, 2, 2, 2})
	little := mat.NewDiagDense(4, []float64{0.005, 0.7, -0.005, 0.2})
	v, err := newTerm(t, dev, denseOperator(t, dev, double), 1, options(cmi.Probe, 4, 1)).Direction(linear(t, dev, little, 1), l, z)
	require.NoError(t, err)
	got := split(t, dev, v)[0]
	assert.InEpsilon(t, 2/math.Sqrt(4*l.C()*0.005+0.01), got[0], 2e-3)
	assert.InDelta(t, 0, got[2], 2e-3*got[0])
	// No variance anywhere: nothing at all, and no number that is not one.
	term := newTerm(t, dev, op, 1, options(cmi.Probe, 3, 1))
	negative := mat.NewDiagDense(4, []float64{-1, -2, -3, -4})
	g, information, err := term.Gradient(linear(t, dev, negative, 1), l, signs)
	require.NoError(t, err)
	assert.Equal(t, []float64{0, 0, 0, 0}, split(t, dev, g)[0])
	assert.InDelta(t, 0, information[0], 1e-12)
}

// A Krylov space that is exhausted before the steps are: the remaining steps must
// not change the direction, however many they are. An isotropic covariance under
// orthonormal rows exhausts it at once, rank one after two.
func TestExhaustedKrylovSpace(t *testing.T) {
	dev := device(t)
	const n = 8
	l := krylov.Level{AlphaBar: 0.4, SigmaY: 0.2}
	ones := mat.NewDense(n, n, nil)
	two := mat.NewDense(n, n, nil)
	for i := range n {
		for j := range n {
			ones.Set(i, j, 0.1+0.02*float64(i+j))
		}
		two.Set(i, i, 0.3+0.2*float64(i%2))
	}
	isotropic, rankOne := mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
	u := randomMatrix(n, 1, 3)
	rankOne.Mul(u, u.T())
	rankOne.Scale(1/float64(n), rankOne)
	for i := range n {
		isotropic.Set(i, i, 0.37)
		rankOne.Set(i, i, rankOne.At(i, i)+0.1)
	}
	identity := mat.NewDense(n, n, nil)
	for i := range n {
		identity.Set(i, i, 1)
	}
	op := denseOperator(t, dev, identity)
	for name, c := range map[string]struct {
		j    *mat.Dense
		need int // dimension of the Krylov space
	}{"isotropic": {isotropic, 1}, "isotropic and rank one": {rankOne, 2}, "two values": {two, 2}, "rank two": {ones, 3}} {
		for seed := range uint64(4) {
			z := make([]float32, n)
			random(seed, z)
			want := exactDirection(t, identity, c.j, l, wide(z))
			for k := c.need; k <= n+4; k++ {
				v, err := newTerm(t, dev, op, 1, options(cmi.Probe, k, 1)).Direction(linear(t, dev, c.j, 1), l, z)
				require.NoError(t, err)
				assert.LessOrEqual(t, relative(split(t, dev, v)[0], want), 1e-3, "%s, K = %d, seed %d", name, k, seed)
			}
		}
	}
}

// An image whose space is exhausted beside one whose is not.
func TestExhaustedBesideOthers(t *testing.T) {
	dev := device(t)
	const n = 6
	l := krylov.Level{AlphaBar: 0.4, SigmaY: 0.2}
	identity, steep := mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
	for i := range n {
		identity.Set(i, i, 1)
		steep.Set(i, i, 0.1*float64(i+1))
	}
	op := denseOperator(t, dev, identity)
	h := newHost(t, dev, 3) // isotropic, steep, none at all
	h.jvp = func(image int, dst, v []float64) {
		for i := range dst {
			dst[i] = []float64{0.5, steep.At(i, i), 0}[image] * v[i]
		}
	}
	z := make([]float32, 3*n)
	random(7, z)
	v, err := newTerm(t, dev, op, 3, options(cmi.Probe, n, 1)).Direction(h, l, z)
	require.NoError(t, err)
	got := split(t, dev, v)
	half := mat.NewDense(n, n, nil)
	half.Scale(0.5, identity)
	assert.LessOrEqual(t, relative(got[0], exactDirection(t, identity, half, l, wide(z[:n]))), 1e-3)
	assert.LessOrEqual(t, relative(got[1], exactDirection(t, identity, steep, l, wide(z[n:2*n]))), 1e-3)
	for _, x := range got[2] {
		assert.False(t, math.IsNaN(x) || math.IsInf(x, 0))
	}
}

// Directions that no measurement sees have no part, whatever the probe says there.
func TestUnmeasuredCoordinates(t *testing.T) {
	dev := device(t)
	keep := []float32{1, 0, 1, 1, 0, 1}
	op, err := measure.NewMask(dev, 1, 2, 3, keep)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	j := randomMatrix(6, 6, 4)
	j.Mul(j, j.T())
	l := krylov.Level{AlphaBar: 0.3, SigmaY: 0.2}
	var got [2][]float64
	for i, z := range [][]float32{{1, 1, -1, 1, 1, -1}, {1, -1, -1, 1, -1, -1}} {
		v, err := newTerm(t, dev, op, 1, options(cmi.Probe, 4, 1)).Direction(linear(t, dev, j, 1), l, z)
		require.NoError(t, err)
		got[i] = split(t, dev, v)[0]
		assert.Zero(t, got[i][1])
		assert.Zero(t, got[i][4])
	}
	assert.Equal(t, got[0], got[1])
	rows := mat.NewDense(4, 6, nil)
	for r, at := range []int{0, 2, 3, 5} {
		rows.Set(r, at, 1)
	}
	assert.LessOrEqual(t, relative(got[0], exactDirection(t, rows, j, l, []float64{1, -1, 1, -1})), 1e-3)

	assert.Equal(t, []int{0, 2, 3, 5}, covariances(t, dev, op, linear(t, dev, j, 1), l)[0].Measured)
}
