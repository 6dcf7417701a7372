//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package wgsl_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// phaseSteps is how many steps the sampler of phase retrieval takes.
const phaseSteps = 50

// phaseSolver returns a sampler of phase retrieval by DPS on a device.
func phaseSolver(t *testing.T, d compute.Device, y []float32) (s *sdk.Solver, measured []float32) {
	t.Helper()
	file, err := faces64.Open()
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(d, file, nil)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	c, h, w := m.Image()
	op, err := measure.NewPhaseRetrieval(d, c, h, w, 2)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	if y == nil {
		all, err := faces.Load(1)
		require.NoError(t, err)
		y, err = sdk.Measure(d, op, all[0].Pix, 0.05, 1, nil)
		require.NoError(t, err)
	}
	o, err := sdk.Defaults(m, "phase", phaseSteps)
	require.NoError(t, err)
	o.Seed = 1
	s, err = sdk.NewSolver(sdk.Problem{Prior: m, Operator: op, Y: y, N: 1, SigmaY: 0.05}, o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, y
}

// Phase retrieval has several answers, and no two roundings need agree on one. Each
// step does, from the same state.
func TestPhaseStep(t *testing.T) {
	d := open(t)
	best := cpu.New(2)
	t.Cleanup(func() { best.Close() })
	t.Setenv("CMI_CPU", "generic")
	plain := cpu.New(2)
	t.Cleanup(func() { plain.Close() })
	reference, y := phaseSolver(t, best, nil)
	webgpu, _ := phaseSolver(t, d, y)
	other, _ := phaseSolver(t, plain, y)
	worst := map[*sdk.Solver]float64{}
	for k := range phaseSteps {
		from, next, err := reference.State()
		require.NoError(t, err)
		require.NoError(t, reference.Step())
		if k%7 != 0 && k < phaseSteps-2 {
			continue
		}
		want, _, err := reference.State()
		require.NoError(t, err)
		for _, s := range []*sdk.Solver{webgpu, other} {
			require.NoError(t, s.SetState(from, next))
			require.NoError(t, s.Step())
			got, _, err := s.State()
			require.NoError(t, err)
			apart, size := 0.0, 0.0
			for i, v := range want {
				apart += math.Pow(float64(got[i]-v), 2)
				size += math.Pow(float64(v), 2)
			}
			worst[s] = max(worst[s], math.Sqrt(apart/size))
		}
	}
	t.Logf("largest difference of a step: WebGPU %.1e, the processor's plain kernels %.1e", worst[webgpu], worst[other])
	assert.Less(t, max(worst[webgpu], worst[other]), 1e-5)
}
