//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
)

func openDevice() (compute.Device, error) {
	g, err := Open(0)
	if err != nil {
		return nil, err
	}
	d, err := cuda.New(g, cuda.Options{Precision: cuda.F32})
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return d, nil
}

// The device, the binding and the embedded modules together: what runs on a GPU but
// for the GPU and its driver.
func TestConformance(t *testing.T) {
	fake(t)
	slotBytes = 2 << 20
	d, err := openDevice()
	if err != nil {
		t.Fatal(err)
	}
	devicetest.Ops(t, d, true)
	devicetest.Cases(t, d, computetest.Networks(true))
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	devicetest.Errors(t, openDevice)
}

// Calls fail in the middle of a network's passes. Whatever it is, the device says so
// with CUDA's name, panics never and leaves nothing.
func TestDeviceFails(t *testing.T) {
	control := fake(t)
	work := computetest.Networks(true)
	try := func() error {
		d, err := openDevice()
		if err != nil {
			return err
		}
		var failure error
		computetest.Run(t.Context(), d, work[:1], func(r computetest.Result) {
			if failure = r.Failure; failure == nil && !r.Passed {
				failure = errors.New("a wrong result without an error")
			}
		})
		return errors.Join(failure, d.Close())
	}
	before := control.Calls("")
	if err := try(); err != nil {
		t.Fatal(err)
	}
	calls := control.Calls("") - before
	t.Logf("%d calls", calls)
	for n := 1; n <= calls; n += max(1, calls/120) {
		for code, kind := range map[int]error{2: compute.ErrMemory, 719: compute.ErrLost} {
			control.Fail(n, code)
			err := try()
			control.Fail(0, 0)
			var e *Error
			if !errors.As(err, &e) || int(e.Code) != code || !errors.Is(err, kind) {
				if code != 2 || err != nil { // memory may have been found after all
					t.Errorf("call %d fails with %d: got %v", n, code, err)
				}
			}
			checkNothingLeft(t, control)
		}
	}
}

func checkNothingLeft(t *testing.T, control *fakecuda.Control) {
	t.Helper()
	if left := control.Live(); left != 0 {
		t.Fatalf("%d things are left behind", left)
	}
	for _, v := range control.Violations() {
		t.Fatal("the driver saw: ", v)
	}
}
