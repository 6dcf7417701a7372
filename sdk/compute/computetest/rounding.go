package computetest

import (
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Rounded gives cases the bounds of a device whose convolutions round their factors
// (see [compute.Info.Rounding]), in units of that rounding. Other devices, and cases
// without convolutions of a network in them, keep theirs.
func Rounded(cases []Case, info compute.Info) []Case {
	if info.Rounding == 0 {
		return cases
	}
	out := append([]Case(nil), cases...)
	for i, c := range out {
		out[i].Bound = max(c.Bound, units(c)*info.Rounding)
	}
	return out
}

// units returns how far a case may be off, in roundings of a factor.
func units(c Case) float64 {
	switch c.Group {
	case "conv", "conv-adjoint", "conv-identity":
		return 1 // the errors of many products average out
	case "network", "unet":
		switch {
		case c.Bound == 0 || math.IsInf(c.Bound, 1):
			return 0 // the same bits twice, or reported only
		case strings.Contains(c.Name, "second") || strings.Contains(c.Name, "d2_"):
			return 8
		}
		return 4 // grows through the layers
	case "information":
		return 64 // Lanczos steps: a quotient of small differences
	case "trajectory":
		return math.Inf(1) // reported only: steps amplify what one is off
	}
	return 0
}
