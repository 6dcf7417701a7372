package sdk

import "github.com/cmi-diffusion/cmi/sdk/prior"

// Passes is how many network passes a run will take, in units of one forward: those
// of the sampler and its method, and those of the information term, with a prior that
// has a [prior.TangentCache], as networks do.
func Passes(o Options) (method, term int) {
	for i := range o.Schedule.Len() {
		cost := o.Method.Cost(o.Schedule, i)
		method += 1 + cost.Passes()
		// A term whose length is tied to the guidance rests where there is none.
		if o.CMI != nil && (cost.Guides || o.CMI.TrustGuidance == 0) && o.CMI.Active(o.Schedule.Len()-i, o.Schedule.AlphaBar(i)) {
			term += o.CMI.Probes * (o.CMI.Lanczos + prior.SecondPasses(o.CMI.Lanczos))
		}
	}
	return method, term
}
