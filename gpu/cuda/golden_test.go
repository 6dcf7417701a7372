//go:build linux

package cuda

import (
	"os"
	"slices"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

// Whole networks and the information term match the reference implementation, in
// float32 and in parts of TF32 within the bounds of the CPU.
func TestGolden(t *testing.T) {
	all, err := golden.Cases(os.DirFS("../../testdata/golden"), golden.Options{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	for p, groups := range map[Precision][]string{F32: {"unet", "information"}, TF32x3: {"unet"}, TF32: {"unet", "information"}, BF16: {"unet"}} {
		t.Run(p.String(), func(t *testing.T) {
			if testing.Short() && p != TF32 {
				t.Skip("takes half a minute: run without -short")
			}
			d := emulated(t, p)
			var cases []computetest.Case
			for _, c := range computetest.Rounded(all, d.Info()) {
				if slices.Contains(groups, c.Group) {
					cases = append(cases, c)
				}
			}
			devicetest.Cases(t, d, cases)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
