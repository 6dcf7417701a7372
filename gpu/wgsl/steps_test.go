//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package wgsl_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
)

// A thousand steps of the trained 16×16 network take no more memory at their end
// than after the first fifty, on the adapter and in the process.
func TestThousandSteps(t *testing.T) {
	d := open(t)
	s := tiny16(t, d, 1000, func(int) float32 { return 0 })
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
