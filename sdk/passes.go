package sdk

import (
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// Passes is how many network passes a run will take, in units of one forward: those
// of the sampler and its method, and those of the information term, with a prior that
// keeps directions ([prior.Keeper]), as networks do.
func Passes(o Options) (method, term int) {
	for i := range o.Schedule.Len() {
		method++
		guides := guided(o.Method, i)
		if guides {
			method += o.Method.Passes()
		}
		// A term whose length is tied to the guidance rests where there is none.
		if o.CMI != nil && (guides || o.CMI.TrustGuidance == 0) && o.CMI.Active(o.Schedule.Len()-i, o.Schedule.AlphaBar(i)) {
			term += o.CMI.Probes * (o.CMI.Lanczos + cmi.SecondPasses(o.CMI.Lanczos))
		}
	}
	return method, term
}

// guided says whether a method guides the step of that index.
func guided(m guide.Method, index int) bool {
	switch m := m.(type) {
	case guide.Unconditional:
		return false
	case guide.DSG: // no noise to steer in the last step
		return index > 0 && index%max(m.Interval, 1) == 0
	}
	return true
}
