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

// The other precisions, within the bounds that they state.
func TestPrecisions(t *testing.T) {
	for _, c := range []struct {
		p       Precision
		network float64 // looser than a convolution's: the error grows through twenty layers
		bound   float64
	}{{TF32, 2e-3, 5e-4}, {BF16, 1.5e-2, 4e-3}, {TF32x3, 0, 0}} {
		t.Run(c.p.String(), func(t *testing.T) {
			d := emulated(t, c.p)
			cases := computetest.Ops(true)
			for _, c := range computetest.Ops(false) {
				if c.Group == "conv" || c.Group == "conv-adjoint" {
					cases = append(cases, c)
				}
			}
			for i := range cases {
				if g := cases[i].Group; g == "conv" || g == "conv-adjoint" || g == "conv-identity" {
					cases[i].Bound = max(cases[i].Bound, c.bound)
				}
			}
			for _, k := range computetest.Networks(true) {
				k.Bound = max(k.Bound, c.network)
				cases = append(cases, k)
			}
			devicetest.Cases(t, d, cases)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
