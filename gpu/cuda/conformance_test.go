//go:build linux

package cuda

import (
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
)

// Every kernel passes the suite that all devices must pass.
func TestConformance(t *testing.T) {
	d := emulated(t, F32)
	devicetest.Ops(t, d, testing.Short())
	devicetest.Cases(t, d, computetest.Networks(testing.Short()))
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	devicetest.Errors(t, func() (compute.Device, error) { return New(newFake(t), Options{}) })
}
