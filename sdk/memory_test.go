package sdk_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// watched is a device that counts what is allocated and may fail.
type watched struct {
	compute.Device
	live    map[compute.Buffer]bool
	room    int // arrays that can still be allocated; negative without end
	dots    int // Dots until the device is lost; negative for never
	unknown int // Frees of what was not allocated
	allocs  int
}

var (
	errMemory = errors.New("out of memory")
	errLost   = errors.New("the device is lost")
)

func watch(d compute.Device) *watched {
	return &watched{Device: d, live: map[compute.Buffer]bool{}, room: -1, dots: -1}
}

func (w *watched) Alloc(n int) (compute.Buffer, error) {
	if w.room == 0 {
		return nil, errMemory
	}
	w.room--
	w.allocs++
	b, err := w.Device.Alloc(n)
	w.live[b] = true
	return b, err
}

func (w *watched) Free(b compute.Buffer) {
	if !w.live[b] {
		w.unknown++
	}
	delete(w.live, b)
	w.Device.Free(b)
}

func (w *watched) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	if w.dots == 0 {
		return nil, errLost
	}
	w.dots--
	return w.Device.Dots(pairs...)
}

// Close frees everything, once, and a run allocates in its first step only.
func TestMemory(t *testing.T) {
	dev := watch(device(t, 1))
	p, o := gaussians(t, dev, 2, 4)
	warm := newSolver(t, p, o)
	require.NoError(t, warm.Step()) // the prior and the operator keep their own
	warm.Close()
	before := len(dev.live)
	for _, e := range []cmi.Estimator{cmi.Probe, cmi.Trace, cmi.TwoDirection, cmi.TwoTrace} {
		o.CMI.Estimator = e
		o.OnStep, o.Preview = func(sdk.Progress) {}, true
		s, err := sdk.NewSolver(p, o)
		require.NoError(t, err)
		require.NoError(t, s.Step())
		live, allocs := len(dev.live), dev.allocs
		_, err = s.Run(context.Background())
		require.NoError(t, err)
		if e == cmi.Probe {
			assert.Equal(t, live, len(dev.live))
			assert.Equal(t, allocs, dev.allocs, "allocations after the first step")
		}
		s.Close()
	}
	// The operator and the prior may have grown to other batches; a second round not.
	after := len(dev.live)
	s, err := sdk.NewSolver(p, o)
	require.NoError(t, err)
	_, err = s.Run(context.Background())
	require.NoError(t, err)
	s.Close()
	assert.Equal(t, after, len(dev.live))
	s.Close()
	assert.Zero(t, dev.unknown, "freed twice")
	p.Prior.Close()
	p.Operator.Close()
	assert.Empty(t, dev.live)
	assert.LessOrEqual(t, before, after)
}

// Wherever memory runs out the run ends with that error, and nothing is lost. An
// operator has no error to return: the device refuses its work with the reason.
func TestOutOfMemory(t *testing.T) {
	done := false
	for room := 0; room < 200 && !done; room++ {
		processor := cpu.New(1)
		dev := watch(processor)
		p, o := gaussians(t, dev, 2, 2)
		o.OnStep = func(sdk.Progress) {}
		dev.room = room
		x, err := sdk.Restore(context.Background(), p, o)
		if done = err == nil; !done {
			assert.Nil(t, x)
			assert.ErrorIs(t, err, errMemory, "room for %d", room)
		}
		p.Prior.Close()
		p.Operator.Close()
		assert.Empty(t, dev.live, "room for %d", room)
		assert.Zero(t, dev.unknown, "room for %d", room)
		_ = processor.Close() // it keeps the refusal
	}
	assert.True(t, done)
}

// Wherever a device is lost the run ends with that error.
func TestDeviceLost(t *testing.T) {
	dev := watch(device(t, 1))
	p, o := gaussians(t, dev, 2, 2)
	o.OnStep = func(sdk.Progress) {}
	done := false
	for dots := 0; dots < 200 && !done; dots++ {
		dev.dots = dots
		_, err := sdk.Restore(context.Background(), p, o)
		if done = err == nil; !done {
			assert.ErrorIs(t, err, errLost)
			assert.Regexp(t, "^(step [12] of 2|the information term): ", err)
		}
	}
	assert.True(t, done)
}
