//go:build linux

package cuda

import (
	"strings"
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

// The other precisions: convolutions and networks within the bounds that their rounding
// has, of which there is none in three parts of TF32.
func TestPrecisions(t *testing.T) {
	for _, p := range []Precision{TF32, BF16, TF32x3} {
		t.Run(p.String(), func(t *testing.T) {
			d := emulated(t, p)
			var cases []computetest.Case
			for _, c := range append(computetest.Ops(testing.Short()), computetest.Networks(testing.Short())...) {
				if strings.HasPrefix(c.Group, "conv") || c.Group == "network" {
					cases = append(cases, c)
				}
			}
			devicetest.Cases(t, d, computetest.Rounded(cases, d.Info()))
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Rounding is not hidden by bounds: in TF32 a convolution fails those of float32.
func TestRoundingShows(t *testing.T) {
	d := emulated(t, TF32)
	defer d.Close()
	failed := 0
	for _, c := range computetest.Ops(true) {
		if c.Group == "conv" {
			_, n, _ := computetest.Run(t.Context(), d, []computetest.Case{c}, nil)
			failed += n
		}
	}
	if failed == 0 {
		t.Error("no convolution in TF32 fails the bounds of float32: does it round?")
	}
}
