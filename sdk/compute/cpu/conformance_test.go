package cpu

import (
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
)

// Every kernel set passes the suite that all devices must pass.
func TestConformance(t *testing.T) {
	for _, k := range available() {
		t.Run(k.name, func(t *testing.T) {
			d := newDevice(2, k)
			defer d.Close()
			devicetest.Ops(t, d, true)
			devicetest.Cases(t, d, computetest.Networks(true))
			d.tileFrom = [len(schemes)]int{} // convolutions in tiles wherever they can be
			devicetest.Ops(t, d, true)
			devicetest.Cases(t, d, computetest.Networks(true))
			devicetest.Errors(t, func() (compute.Device, error) { return newDevice(1, k), nil })
		})
	}
}
