//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package wgsl_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// A thousand steps of the trained 16×16 network take no more memory at their end
// than after the first fifty, on the adapter and in the process.
func TestThousandSteps(t *testing.T) {
	d := open(t)
	const folder = "../../testdata/golden/tiny16/"
	override, err := os.ReadFile(folder + "config.json")
	require.NoError(t, err)
	file, err := checkpoint.Open(folder + "model.pt")
	require.NoError(t, err)
	defer file.Close()
	m, err := unet.Load(d, file, override)
	require.NoError(t, err)
	defer m.Close()
	c, h, w := m.Image()
	op, err := measure.ForTask("sr4", d, c, h, w, rand.New(rand.NewPCG(1, 1)))
	require.NoError(t, err)
	defer op.Close()
	o, err := sdk.Defaults(m, "sr4", 1000)
	require.NoError(t, err)
	o.Method = guide.DPS{Scale: 0.5}
	s, err := sdk.NewSolver(sdk.Problem{Prior: m, Operator: op, Y: make([]float32, c*h*w/16), N: 1, SigmaY: 0.05}, o)
	require.NoError(t, err)
	defer s.Close()
	step := func(n int) (used, resident int64) {
		for range n {
			require.NoError(t, s.Step())
		}
		used, _ = d.Memory()
		return used, drivertest.Resident()
	}
	usedBefore, residentBefore := step(50)
	used, resident := step(950)
	_, peak := d.Memory()
	t.Logf("adapter: %d KiB after 50 steps, %d KiB after 1000, peak %d KiB; process: %d MiB, grown by %d KiB",
		usedBefore>>10, used>>10, peak>>10, resident>>20, (resident-residentBefore)>>10)
	assert.Equal(t, usedBefore, used)
	if residentBefore > 0 {
		assert.Less(t, resident-residentBefore, int64(16<<20))
	}
}
