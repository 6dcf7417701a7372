//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package faulty_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/faulty"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// Wherever the driver fails in a run, the run ends in the right picture or in an
// error of the fault's kind: a loss goes on on a new device and gives the same picture
// to the bit; without memory the work goes to the processor where that is allowed;
// what is not valid is the caller's to know.
func TestEveryCall(t *testing.T) {
	j, processor, undisturbed := newJob(t)
	require.Greater(t, psnr(processor, undisturbed), 100.0)
	calls := j.calls
	t.Logf("%d calls of the driver in a run; PSNR to the processor's picture %.0f dB", calls, psnr(processor, undisturbed))
	anew := func() (compute.Device, error) { return wgsl.New(j.adapter.use(), wgsl.Options{}) }
	onProcessor := func() (compute.Device, error) { return cpu.New(2), nil }
	nowhere := func() (compute.Device, error) { return nil, nil }
	start, step := 0, 61
	if s := os.Getenv("CMI_FAULTS"); s != "" { // "0 1" takes every call, in about 20 minutes
		_, err := fmt.Sscan(s, &start, &step)
		require.NoError(t, err)
	}
	for call := start; call < calls; call += step {
		j.second = anew
		x, err := j.run(faulty.Fault{Call: call, Kind: compute.ErrLost})
		require.NoError(t, err, "lost at call %d", call)
		require.Equal(t, undisturbed, x, "lost at call %d", call)
		require.Equal(t, 2, j.devices, "lost at call %d", call)

		j.second = onProcessor
		x, err = j.run(faulty.Fault{Call: call, Kind: compute.ErrMemory})
		require.NoError(t, err, "no memory at call %d", call)
		require.Greater(t, psnr(processor, x), 100.0, "no memory at call %d", call)

		j.second = nowhere
		_, err = j.run(faulty.Fault{Call: call, Kind: compute.ErrMemory})
		require.ErrorIs(t, err, compute.ErrMemory, "no memory at call %d", call)

		x, err = j.run(faulty.Fault{Call: call, Kind: errInvalid})
		require.ErrorIs(t, err, errInvalid, "invalid at call %d", call)
		assert.Nil(t, x)
		assert.Equal(t, 1, j.devices)
	}
}
