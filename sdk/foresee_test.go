package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// small is a device with so much memory, and for one array.
type small struct {
	compute.Device
	memory, array int64
}

func (s *small) Info() compute.Info {
	i := s.Device.Info()
	i.Memory, i.MaxArray = s.memory, s.array
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
		want, largest := m.Foresee(p.N, passes)
		assert.Less(t, largest, want)
		before := sdk.Foresee(m, o, p.N)
		assert.Less(t, want, before)
		restore(t, p, o)
		assert.Equal(t, want, m.Memory(), "with the information term %v", withCMI)
		assert.Less(t, before, want+want/4)
		again, _ := m.Foresee(p.N, passes)
		assert.Zero(t, again, "the next run takes no more")
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
	dev.memory = 1 << 40
	_, dev.array = p.Prior.(*unet.Model).Foresee(2, compute.Passes{VJP: true, Kept: o.CMI.Lanczos})
	_, err = sdk.NewSolver(p, o)
	require.ErrorIs(t, err, compute.ErrMemory)
	assert.Regexp(t, `^a batch of 4 needs an array of \d+ MiB on cpu, which takes \d+ MiB in one: a batch of 2 would fit: out of device memory$`, err)
	dev.memory, dev.array = sdk.Foresee(p.Prior, o, 4), 2*dev.array
	s, err := sdk.NewSolver(p, o)
	require.NoError(t, err)
	s.Close()
}
