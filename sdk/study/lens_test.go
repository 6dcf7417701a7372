package study_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
	"github.com/cmi-diffusion/cmi/sdk/study"
)

// The trace is the gradient of I, which differences of I show; probes have it for a mean; and the
// curvature's mean over the innovations of an exact score is +∇I.
func TestLens(t *testing.T) {
	p, err := mixture.NewProblem(mixture.ProblemConfig{Components: 6, Dim: 8, Rows: 3, Std: 0.3, SigmaY: 0.2, Seed: 3})
	require.NoError(t, err)
	dev := cpu.New(1)
	defer dev.Close()
	betas, err := diffusion.LinearBetas(50, 2e-3, 0.2)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 50)
	require.NoError(t, err)
	m, err := mixture.NewModel(p.Prior, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	defer m.Close()
	op, err := measure.NewDense(dev, p.A)
	require.NoError(t, err)
	defer op.Close()
	lens, err := study.NewLens(m, op, schedule, p.SigmaY)
	require.NoError(t, err)
	defer lens.Close()

	const index = 16
	rng := rand.New(rand.NewPCG(1, 1))
	image, noise := schedule.Forward(index)
	x := make([]float32, 8)
	for i := range x { // between two components, where the information has a gradient
		x[i] = float32(image*(p.Prior.Means[0][i]+p.Prior.Means[1][i])/2 + 0.2*noise*rng.NormFloat64())
	}
	require.NoError(t, lens.At(x, index))
	exact, err := lens.Exact()
	require.NoError(t, err)
	assert.Equal(t, 3, exact.Eigenvalues)
	assert.Zero(t, exact.NotPositive)
	require.Greater(t, floats.Norm(exact.Gradient, 2), 0.1)

	const far = 1e-2
	for i := range x {
		at := func(d float32) float64 {
			moved := append([]float32(nil), x...)
			moved[i] += d
			require.NoError(t, lens.At(moved, index))
			nats, err := lens.Information()
			require.NoError(t, err)
			return nats
		}
		assert.InDelta(t, exact.Gradient[i], (at(far)-at(-far))/(2*far), 0.02*floats.Norm(exact.Gradient, 2))
	}

	require.NoError(t, lens.At(x, index))
	mean, length, z := make([]float64, 8), 0.0, make([]float32, 3)
	for signs := range 8 { // every probe of three signs
		for k := range z {
			z[k] = float32(2*(signs>>k&1) - 1)
		}
		jet, err := lens.Probe(z, 3)
		require.NoError(t, err)
		floats.AddScaled(mean, 1.0/8, jet.Vector)
		length += jet.Length / 8
	}
	assert.Less(t, floats.Distance(mean, exact.Gradient, 2), 1e-3*floats.Norm(exact.Gradient, 2))

	// y given x_t: x0 from the posterior of a measurement √ᾱ x0 + σ n.
	local, err := p.Prior.At(wide(x), schedule.AlphaBar(index))
	require.NoError(t, err)
	curvature, squared, size := make([]float64, 8), 0.0, 0.0
	const draws = 6000
	for range draws {
		x0 := given(p.Prior, local.Responsibilities(), x, schedule.AlphaBar(index), rng)
		y := make([]float32, 3)
		for r := range y {
			y[r] = float32(floats.Dot(p.A.RawRowView(r), x0) + p.SigmaY*rng.NormFloat64())
		}
		jet, err := lens.Curvature(y, 3)
		require.NoError(t, err)
		floats.AddScaled(curvature, 1.0/draws, jet.Vector)
		squared += floats.Dot(jet.Vector, jet.Vector) / draws
		size += jet.Length / draws
	}
	assert.Less(t, floats.Distance(curvature, exact.Gradient, 2), 4*math.Sqrt(squared/draws), "the mean of the curvature is ∇I within its error")
	assert.InEpsilon(t, length, size, 0.1, "w is as long as a probe's direction")
	assert.Less(t, 4*math.Sqrt(squared/draws), 0.5*floats.Norm(exact.Gradient, 2), "which says something")
}

// given draws x0 from p(x0 | x_t = x), component by component.
func given(m *mixture.Mixture, responsibilities []float64, x []float32, alphaBar float64, rng *rand.Rand) []float64 {
	k, u := 0, rng.Float64()
	for ; k < len(responsibilities)-1 && u > responsibilities[k]; k++ {
		u -= responsibilities[k]
	}
	prior, noise := m.Std*m.Std, (1-alphaBar)/alphaBar
	x0 := make([]float64, len(x))
	for i := range x0 {
		seen := float64(x[i]) / math.Sqrt(alphaBar)
		x0[i] = (m.Means[k][i]*noise+seen*prior)/(prior+noise) + math.Sqrt(prior*noise/(prior+noise))*rng.NormFloat64()
	}
	return x0
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
