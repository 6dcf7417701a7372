package sdk_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/guide"
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

// The memory that is planned for a network is what a run then takes.
func TestPlannedMemory(t *testing.T) {
	curved := guide.Curvature{Weight: 1, MinAlphaBar: 0.03}
	evidence := func(k int, c guide.Curvature) guide.Method { return guide.Evidence{Scale: 1, Lanczos: k, Curvature: c} }
	for _, c := range []struct {
		method guide.Method
		term   int // K of the information term, −1 for none
		passes compute.Passes
	}{
		{guide.Unconditional{}, -1, compute.Passes{}},
		{guide.DPS{Scale: 0.5}, -1, compute.Passes{VJP: true}},
		{guide.DPS{Scale: 0.5}, 2, compute.Passes{VJP: true, Cached: 2}},
		{guide.DPS{Scale: 0.5}, 0, compute.Passes{VJP: true, Second: 1}},
		{guide.PiGDM{Scale: 1, Curvature: curved}, -1, compute.Passes{VJP: true, Second: 1}},
		{guide.DiffPIR{Lambda: 1, Zeta: 0.5}, -1, compute.Passes{}},
		{guide.DDRM{}, -1, compute.Passes{}},
		{guide.Gibbs{}, -1, compute.Passes{}},
		{guide.Pathwise{Root: 2, Solve: 2, MinAlphaBar: 0.03}, -1, compute.Passes{VJP: true, JVP: 1}},
		{guide.Pathwise{Solve: 2}, 2, compute.Passes{JVP: 1, Cached: 2}},
		{evidence(1, guide.Curvature{}), -1, compute.Passes{VJP: true, JVP: 1}},
		{evidence(8, guide.Curvature{}), -1, compute.Passes{VJP: true, JVP: 1}},
		{evidence(8, guide.Curvature{}), 2, compute.Passes{VJP: true, JVP: 1, Cached: 2}},
		{evidence(1, curved), -1, compute.Passes{VJP: true, JVP: 1, Cached: 1}},
		{evidence(2, curved), -1, compute.Passes{VJP: true, JVP: 1, Cached: 2}},
		{evidence(8, curved), -1, compute.Passes{VJP: true, JVP: 1, Cached: 8}},
		{evidence(8, curved), 2, compute.Passes{VJP: true, JVP: 1, Cached: 8}},
		{evidence(2, curved), 8, compute.Passes{VJP: true, JVP: 1, Cached: 8}},
	} {
		p, o := pictures(t, &small{Device: device(t, 1)}, "sr4", 3, 2) // without memory of its own for convolutions
		o.Method = c.method
		if c.term < 0 {
			o.CMI = nil
		} else {
			o.CMI.Lanczos = c.term
		}
		passes := c.passes
		m := p.Prior.(*unet.Model)
		want, largest := m.EstimateMemory(p.N, passes)
		assert.Less(t, largest, want)
		before := sdk.NewPlan(m, o, p.N).Memory
		assert.Less(t, want, before)
		restore(t, p, o)
		assert.Equal(t, want, m.Memory(), "%#v, K = %d", c.method, c.term)
		assert.Less(t, before, want+want/4)
		again, _ := m.EstimateMemory(p.N, passes)
		assert.Zero(t, again, "the next run takes no more")
	}
}

// A run that does not fit is refused before any work, with the batch that would.
func TestTooLargeABatch(t *testing.T) {
	dev := &small{Device: device(t, 1)}
	p, o := pictures(t, dev, "sr4", 4, 2)
	need := sdk.NewPlan(p.Prior, o, 3).Memory
	dev.memory = need
	_, err := sdk.NewSolver(p, o)
	require.ErrorIs(t, err, compute.ErrMemory)
	assert.Regexp(t, `^a batch of 4 needs \d+ MiB of memory on cpu, \d+ MiB are free: a batch of 3 would fit: out of device memory$`, err)
	dev.memory = 1000
	_, err = sdk.NewSolver(p, o)
	require.ErrorContains(t, err, "not even one image fits")
	dev.memory = 1 << 40
	_, dev.array = p.Prior.(*unet.Model).EstimateMemory(2, compute.Passes{VJP: true, Cached: o.CMI.Lanczos})
	_, err = sdk.NewSolver(p, o)
	require.ErrorIs(t, err, compute.ErrMemory)
	assert.Regexp(t, `^a batch of 4 needs an array of \d+ MiB on cpu, which takes \d+ MiB in one: a batch of 2 would fit: out of device memory$`, err)
	dev.memory, dev.array = sdk.NewPlan(p.Prior, o, 4).Memory, 2*dev.array
	s, err := sdk.NewSolver(p, o)
	require.NoError(t, err)
	s.Close()
}

// A run takes the time of its passes, those of the method and those of the term.
func TestPlannedTime(t *testing.T) {
	p, o := pictures(t, device(t, 1), "sr4", 1, 2)
	plan := sdk.NewPlan(p.Prior, o, 1)
	assert.Equal(t, 2*2*time.Second+2*3*time.Minute, plan.Time(time.Second, time.Minute))
}
