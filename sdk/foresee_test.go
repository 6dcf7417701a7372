package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// small is a device with so much memory.
type small struct {
	compute.Device
	memory int64
}

func (s *small) Info() compute.Info {
	i := s.Device.Info()
	i.Memory = s.memory
	return i
}

// The memory that is foreseen for a network is what a run then takes.
func TestForesee(t *testing.T) {
	for _, withCMI := range []bool{false, true} {
		p, o := pictures(t, device(t, 1), "sr4", 3, 2)
		passes := compute.Passes{VJP: true}
		if withCMI {
			passes.Kept = o.CMI.Lanczos
		} else {
			o.CMI = nil
		}
		m := p.Prior.(*unet.Model)
		want := m.Foresee(p.N, passes)
		restore(t, p, o)
		assert.Equal(t, want, m.Memory(), "with the information term %v", withCMI)
		assert.Less(t, want, sdk.Foresee(m, o, p.N))
		assert.Less(t, sdk.Foresee(m, o, p.N), want+want/4)
	}
}

// A run that does not fit is refused before any work, with the batch that would.
func TestTooLargeABatch(t *testing.T) {
	dev := &small{Device: device(t, 1)}
	p, o := pictures(t, dev, "sr4", 4, 2)
	need := sdk.Foresee(p.Prior, o, 3)
	dev.memory = need
	_, err := sdk.NewSolver(p, o)
	require.ErrorIs(t, err, compute.ErrMemory)
	assert.Regexp(t, `^a batch of 4 needs \d+ MiB of memory on cpu, \d+ MiB are free: a batch of 3 would fit: out of device memory$`, err)
	dev.memory = 1000
	_, err = sdk.NewSolver(p, o)
	require.ErrorContains(t, err, "not even one image fits")
	dev.memory = sdk.Foresee(p.Prior, o, 4)
	s, err := sdk.NewSolver(p, o)
	require.NoError(t, err)
	s.Close()
}
