package wgsl_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// tiny16 returns a solver of so many steps of DPS with the trained 16×16 network; value i
// of the measurement is y(i).
func tiny16(t *testing.T, d compute.Device, steps int, y func(i int) float32) *sdk.Solver {
	t.Helper()
	const folder = "../../testdata/golden/tiny16/"
	override, err := os.ReadFile(folder + "config.json")
	require.NoError(t, err)
	file, err := checkpoint.Open(folder + "model.pt")
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(d, file, override)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	c, h, w := m.Image()
	op, err := measure.ForTask("sr4", d, c, h, w, measure.Inputs{})
	require.NoError(t, err)
	t.Cleanup(func() { op.Close() })
	o, err := sdk.Defaults(m, "sr4", steps)
	require.NoError(t, err)
	o.Method = guide.DPS{Scale: 0.5}
	measured := make([]float32, c*h*w/16)
	for i := range measured {
		measured[i] = y(i)
	}
	s, err := sdk.NewSolver(sdk.Problem{Prior: m, Operator: op, Y: measured, N: 1, SigmaY: 0.05}, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}
