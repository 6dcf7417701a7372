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

func TestInformationAndItsGradient(t *testing.T) {
	for _, ab := range alphaBars {
		for _, sigmaY := range []float64{0.05, 1} {
			t.Run(fmt.Sprintf("%g/%g", ab, sigmaY), func(t *testing.T) {
				m, x := between(t, 11, ab)
				rng := rand.New(rand.NewPCG(11, 2))
				a := mat.NewDense(3, 6, randomVec(18, rng))
				l := at(t, m, x, ab)
				gradient := make([]float64, 6)
				info, err := l.Information(gradient, a, sigmaY)
				require.NoError(t, err)

				// S from the dense covariance.
				var s, sInverse mat.Dense
				s.Product(a, l.Covariance(), a.T())
				for i := range 3 {
					s.Set(i, i, s.At(i, i)+sigmaY*sigmaY)
				}
				assert.InEpsilon(t, (math.Log(mat.Det(&s))-6*math.Log(sigmaY))/2, info, 1e-9)

				// The trace over v_i = AᵀL⁻ᵀe_i with S⁻¹ = L⁻ᵀL⁻¹.
				require.NoError(t, sInverse.Inverse(&s))
				sym := mat.NewSymDense(3, nil)
				for i := range 3 {
					for j := i; j < 3; j++ {
						sym.SetSym(i, j, sInverse.At(i, j))
					}
				}
				var chol mat.Cholesky
				require.True(t, chol.Factorize(sym))
				var root mat.TriDense
				chol.LTo(&root)
				var v mat.Dense
				v.Mul(a.T(), &root)
				trace := make([]float64, 6)
				for i := range 3 {
					vi := mat.Col(nil, i, &v)
					floats.AddScaled(trace, (1-ab)/math.Sqrt(ab)/2, l.TweedieSecond(nil, vi, vi))
				}
				assertClose(t, trace, gradient, 1e-10, "trace over directions")

				if ab < 0.01 { // the variation of I is below the difference's rounding
					return
				}
				for i := range 6 {
					unit := make([]float64, 6)
					unit[i] = 1
					want := slope(t, m, x, unit, ab, func(l *Local) []float64 {
						info, err := l.Information(nil, a, sigmaY)
						require.NoError(t, err)
						return []float64{info}
					})
					assert.InDelta(t, want[0], gradient[i], 1e-7*floats.Norm(gradient, 2))
				}
			})
		}
	}
}

// One Gaussian has the same covariance everywhere: known information, no gradient.
func TestInformationOfOneGaussian(t *testing.T) {
	m := &Mixture{Weights: []float64{3}, Means: [][]float64{{1, 2}}, Std: 0.5}
	gradient := []float64{1, 1}
	info, err := at(t, m, []float64{0.3, -0.2}, 0.6).Information(gradient, mat.NewDense(1, 2, []float64{0, 2}), 0.1)
	require.NoError(t, err)
	variance := 0.4 * 0.25 / (0.6*0.25 + 0.4)
	assert.InDelta(t, math.Log(1+4*variance/0.01)/2, info, 1e-13)
	assert.Equal(t, []float64{0, 0}, gradient)
}
