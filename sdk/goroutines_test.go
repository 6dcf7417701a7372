package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// blocking is noise of zeros that waits in the middle of a step.
type blocking struct{ inside, leave chan bool }

func (blocking) Initial([]float32) {}
func (w blocking) Step([]float32, int) {
	w.inside <- true
	<-w.leave
}
func (blocking) Probe([]float32, int, int)  {}
func (blocking) Method([]float32, int, int) {}

// A step while another goroutine computes on the device is an error, not a wrong picture;
// solvers that take turns are not disturbed.
func TestTwoGoroutines(t *testing.T) {
	dev := device(t, 1)
	p, o := pictures(t, dev, "sr4", 1, 4)
	o.CMI = nil
	other := newSolver(t, p, o)
	require.NoError(t, other.Step())
	w := blocking{make(chan bool), make(chan bool)}
	o.Noise = w
	s := newSolver(t, p, o)
	done := make(chan error)
	go func() { done <- s.Step() }()
	<-w.inside
	assert.ErrorIs(t, other.Step(), compute.ErrBusy)
	w.leave <- true
	require.NoError(t, <-done)
	require.NoError(t, other.Step())
}
