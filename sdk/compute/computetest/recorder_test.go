package computetest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// recorder is a device that repeats recorded calls, and finds calls that a
// recording must not hold and arrays that are freed under one.
type recorder struct {
	compute.Device
	live      map[*recording]bool
	recording bool
	replays   int
	wrong     error
}

type recording struct {
	dev   *recorder
	calls func()
}

func (r *recorder) Record(calls func()) compute.Recording {
	r.recording = true
	calls()
	r.recording = false
	rec := &recording{r, calls}
	r.live[rec] = true
	return rec
}

func (r *recording) Replay() {
	if !r.dev.live[r] {
		r.dev.wrong = errors.New("a recording was replayed after its end")
	}
	r.dev.replays++
	r.calls()
}

func (r *recording) Free() { delete(r.dev.live, r) }

func (r *recorder) forbid(call string) {
	if r.recording {
		r.wrong = fmt.Errorf("%s inside a recording", call)
	}
}

func (r *recorder) Alloc(n int) (compute.Buffer, error) { r.forbid("Alloc"); return r.Device.Alloc(n) }
func (r *recorder) Write(t compute.Tensor, v []float32) { r.forbid("Write"); r.Device.Write(t, v) }
func (r *recorder) Read(v []float32, t compute.Tensor) error {
	r.forbid("Read")
	return r.Device.Read(v, t)
}
func (r *recorder) Sync() error { r.forbid("Sync"); return r.Device.Sync() }
func (r *recorder) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	r.forbid("Dots")
	return r.Device.Dots(pairs...)
}
func (r *recorder) Free(b compute.Buffer) {
	r.forbid("Free")
	r.Device.Free(b)
}

// On a device that records, each pass is recorded once and repeated, and a
// recording ends before the arrays that it names do.
func TestRecorder(t *testing.T) {
	dev := &recorder{Device: cpu.New(1), live: map[*recording]bool{}}
	passed, failed, _ := computetest.Run(t.Context(), dev, computetest.Networks(false), func(r computetest.Result) {
		if !r.Passed {
			t.Error(r)
		}
	})
	require.NoError(t, dev.wrong)
	assert.Positive(t, passed)
	assert.Zero(t, failed)
	assert.Positive(t, dev.replays, "no pass was repeated")
	assert.Empty(t, dev.live, "recordings that outlive their network")
	require.NoError(t, dev.Close())
}
