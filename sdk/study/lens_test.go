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
	p, schedule, lens := problem(t)
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

// problem returns a lens on a mixture.
func problem(t *testing.T) (*mixture.Problem, *diffusion.Schedule, *study.Lens) {
	p, err := mixture.NewProblem(mixture.ProblemConfig{Components: 6, Dim: 8, Rows: 3, Std: 0.3, SigmaY: 0.2, Seed: 3})
	require.NoError(t, err)
	dev := cpu.New(1)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	betas, err := diffusion.LinearBetas(50, 2e-3, 0.2)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 50)
	require.NoError(t, err)
	m, err := mixture.NewModel(p.Prior, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	op, err := measure.NewDense(dev, p.A)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	lens, err := study.NewLens(m, op, schedule, p.SigmaY)
	require.NoError(t, err)
	t.Cleanup(lens.Close)
	return p, schedule, lens
}

// Probes have the trace for their mean, and I changes along it as it says.
func TestEstimation(t *testing.T) {
	p, schedule, lens := problem(t)
	const index = 16
	rng := rand.New(rand.NewPCG(1, 1))
	image, noise := schedule.Forward(index)
	x := make([]float32, 8)
	for i := range x { // between two components, where the information has a gradient
		x[i] = float32(image*(p.Prior.Means[0][i]+p.Prior.Means[1][i])/2 + 0.2*noise*rng.NormFloat64())
	}
	e := study.Estimation{Lanczos: []int{3}, Probes: 64, Seed: 1, Length: 0.01}
	row, err := e.Measure(lens, study.Where{Task: "mixture"}, x, x, index)
	require.NoError(t, err)
	assert.Equal(t, 3, row.Measurements)
	assert.Equal(t, schedule.AlphaBar(index), row.AlphaBar)
	one := row.Probes[0]
	assert.InDelta(t, 1, one.Slope, 0.2)
	assert.InDelta(t, 0, one.Bias, 0.1)
	assert.Greater(t, one.Cosine, 0.3)
	assert.Greater(t, row.Shared, 0.9, "nearly the same state, the same probes")
	require.Len(t, row.Moves, 4)
	for _, m := range row.Moves {
		assert.InEpsilon(t, m.Predicted, m.Measured, 0.2, m.Direction)
	}
	assert.Positive(t, row.Moves[0].Measured)
	assert.Negative(t, row.Moves[1].Measured)
}

// κ is the slope, and its error that of a ratio over images.
func TestGather(t *testing.T) {
	rows := []study.Curvature{{CC: 4, CG: 2, GG: 1, PP: 4, WW: 3, VV: 2}, {CC: 12, CG: 4, GG: 3, PP: 4, WW: 3, VV: 2}}
	rows[0].Image, rows[1].Image = "a", "b"
	g := study.Gather(rows)
	assert.Equal(t, 2, g.States)
	assert.InDelta(t, math.Sqrt(2), g.Norm, 1e-12)
	assert.InDelta(t, 1.5, g.Slope, 1e-12)
	assert.InDelta(t, 0.75, g.Cosine, 1e-12)
	assert.InDelta(t, math.Sqrt(0.5), g.OneProbe, 1e-12)
	assert.InDelta(t, 1.5, g.Size, 1e-12)
	assert.InDelta(t, math.Sqrt(2*0.5*0.5*2)/4, g.Error, 1e-12)
}
