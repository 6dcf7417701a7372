package sdk_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

func device(t testing.TB, threads int) compute.Device {
	t.Helper()
	dev := cpu.New(threads)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return dev
}

// network returns the trained 16×16 network of the golden vectors.
func network(t testing.TB, dev compute.Device) prior.Model {
	t.Helper()
	const folder = "../testdata/golden/tiny16/"
	override, err := os.ReadFile(folder + "config.json")
	require.NoError(t, err)
	file, err := checkpoint.Open(folder + "model.pt")
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(dev, file, override)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

const sigmaY = 0.05

// pictures returns a problem of n pictures and the network, and DPS with the information
// term in so many steps.
func pictures(t testing.TB, dev compute.Device, task string, n, steps int) (sdk.Problem, sdk.Options) {
	t.Helper()
	return picturesOf(t, network(t, dev), task, n, steps)
}

// picturesOf is pictures with another prior.
func picturesOf(t testing.TB, m prior.Model, task string, n, steps int) (sdk.Problem, sdk.Options) {
	t.Helper()
	c, h, w := m.Image()
	dev := m.Device()
	op, err := measure.ForTask(task, dev, c, h, w, measure.Inputs{Rand: rand.New(rand.NewPCG(1, 1))})
	require.NoError(t, err)
	t.Cleanup(op.Close)
	var x []float32
	for i := range n {
		for k := range c * h * w {
			x = append(x, float32(0.8*math.Sin(float64(k%w)/(2+float64(i)))*math.Cos(float64(k/w%h)/3+float64(k/w/h))))
		}
	}
	y, err := sdk.Measure(dev, op, x, sigmaY, 1, nil)
	require.NoError(t, err)
	o, err := sdk.Defaults(m, task, steps)
	require.NoError(t, err)
	o.Method = guide.DPS{Scale: 0.5}
	o.Seed = 42
	o.CMI = &cmi.Options{Eta: 1, Weighting: cmi.Beta, Estimator: cmi.Probe, Probes: 1, Lanczos: 2, MaxAlphaBar: 1, Every: 1, TrustStd: 0.2}
	return sdk.Problem{Prior: m, Operator: op, Y: y, N: n, SigmaY: sigmaY}, o
}

// gaussians returns the same with an exact prior of few dimensions, not clipped.
func gaussians(t testing.TB, dev compute.Device, n, steps int) (sdk.Problem, sdk.Options) {
	t.Helper()
	p, err := mixture.NewProblem(mixture.ProblemConfig{Components: 6, Dim: 8, Rows: 3, Seed: 2})
	require.NoError(t, err)
	betas, err := diffusion.LinearBetas(100, 1e-3, 0.1)
	require.NoError(t, err)
	m, err := mixture.NewModel(p.Prior, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	op, err := measure.NewDense(dev, p.A)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	var y []float32
	for i := range n {
		for _, v := range p.Y {
			y = append(y, float32(v)+float32(i)/10)
		}
	}
	schedule, err := diffusion.New(betas, steps)
	require.NoError(t, err)
	return sdk.Problem{Prior: m, Operator: op, Y: y, N: n, SigmaY: p.SigmaY}, sdk.Options{
		Method: guide.DPS{Scale: 0.3}, Schedule: schedule, Variance: diffusion.FixedSmall, NoClip: true, Seed: 42,
		CMI: &cmi.Options{Eta: 1, Weighting: cmi.Beta, Estimator: cmi.Probe, Probes: 1, Lanczos: 2, MaxAlphaBar: 1, Every: 1},
	}
}

// oneGaussian returns n images under the prior N(μ, 0.7² I) of three dimensions, all with the same measurement y of two rows,
// and what is known of them.
func oneGaussian(t testing.TB, betas []float64, n int, sigmaY float64) (p sdk.Problem, of *mixture.Mixture, a *mat.Dense, y []float64) {
	t.Helper()
	of = &mixture.Mixture{Weights: []float64{1}, Means: [][]float64{{0.5, -1, 0.2}}, Std: 0.7}
	a, y = mat.NewDense(2, 3, []float64{1, 0.5, -0.3, 0, 0.8, 1}), []float64{0.9, -0.4}
	return ofMixture(t, of, betas, a, y, n, sigmaY), of, a, y
}

// ofMixture returns n images under a mixture, all with the same measurement y by a.
func ofMixture(t testing.TB, of *mixture.Mixture, betas []float64, a *mat.Dense, y []float64, n int, sigmaY float64) sdk.Problem {
	t.Helper()
	dev := device(t, 0)
	m, err := mixture.NewModel(of, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	op, err := measure.NewDense(dev, a)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	p := sdk.Problem{Prior: m, Operator: op, N: n, SigmaY: sigmaY}
	for range n {
		for _, v := range y {
			p.Y = append(p.Y, float32(v))
		}
	}
	return p
}

// asRows returns images of dim values as the rows of a matrix.
func asRows(x []float32, dim int) *mat.Dense {
	rows := mat.NewDense(len(x)/dim, dim, nil)
	for i, v := range x {
		rows.Set(i/dim, i%dim, float64(v))
	}
	return rows
}

// covarianceOf returns that of a posterior's only component.
func covarianceOf(p *mixture.Posterior) *mat.Dense {
	var c mat.Dense
	c.Mul(p.Factor, p.Factor.T())
	return &c
}

// restore runs to the end.
func restore(t testing.TB, p sdk.Problem, o sdk.Options) []float32 {
	t.Helper()
	x, err := sdk.Restore(context.Background(), p, o)
	require.NoError(t, err)
	requireFinite(t, x)
	return x
}

func newSolver(t testing.TB, p sdk.Problem, o sdk.Options) *sdk.Solver {
	t.Helper()
	s, err := sdk.NewSolver(p, o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func requireFinite(t testing.TB, x []float32) {
	t.Helper()
	for i, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			require.Fail(t, fmt.Sprintf("value %d is %v", i, v))
		}
	}
}

func distance(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += math.Pow(float64(a[i])-float64(b[i]), 2)
	}
	return math.Sqrt(sum)
}

func norm(a []float32) float64 { return distance(a, make([]float32, len(a))) }
