// Package devicetest runs the conformance suite of package computetest in a Go
// test.
package devicetest

import (
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
)

// Ops runs every kernel's cases on a device, each as a subtest GROUP/NAME.
func Ops(t *testing.T, dev compute.Device, quick bool) {
	t.Helper()
	Cases(t, dev, computetest.Ops(quick))
}

// Errors tries wrong calls, each on a device of its own that open makes and the
// case closes.
func Errors(t *testing.T, open func() (compute.Device, error)) {
	t.Helper()
	Cases(t, nil, computetest.Errors(open))
}

// Cases runs any cases on a device.
func Cases(t *testing.T, dev compute.Device, cases []computetest.Case) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
			computetest.Run(t.Context(), dev, []computetest.Case{c}, func(r computetest.Result) {
				switch {
				case r.Skipped != "":
					t.Skip(r.Skipped)
				case !r.Passed:
					t.Error(r)
				}
			})
		})
	}
}
