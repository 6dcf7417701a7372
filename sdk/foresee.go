package sdk

import (
	"fmt"
	"sort"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Foresee is about how many bytes of device memory a run of n images will take beyond
// what the prior holds now; exact for the network, whose activations are nearly all
// of it. It is 0 where the prior can't tell.
func Foresee(m prior.Model, o Options, n int) int64 {
	total, _ := foresee(m, o, n)
	return total
}

// foresee is also the bytes of the largest array.
func foresee(m prior.Model, o Options, n int) (total, largest int64) {
	f, ok := m.(prior.Foreseer)
	if !ok {
		return 0, 0
	}
	var p compute.Passes
	for i := range o.Schedule.Len() {
		cost := o.Method.Cost(o.Schedule, i)
		p.VJP = p.VJP || cost.Adjoint
		switch {
		case cost.Jet && cost.Directions > 0:
			p.Cached = max(p.Cached, cost.Directions)
		case cost.Jet:
			p.Second = 1
		case cost.Directions > 0:
			p.JVP = 1
		}
	}
	switch {
	case o.CMI == nil:
	case o.CMI.Estimator != cmi.Probe:
		p.JVP, p.Second = dense.Directions, dense.Directions
	default:
		p.Cached = max(p.Cached, o.CMI.Lanczos)
		if o.CMI.Lanczos == 0 {
			p.Second = 1
		}
	}
	c, h, w := m.Image()
	const images = 24 // states, noise, directions and the Krylov basis
	total, largest = f.Foresee(n, p)
	return total + images*4*int64(n*c*h*w), largest
}

const mebibyte = 1 << 20

// Fits refuses a run that the device of the prior can't hold, before any work: with
// [compute.ErrMemory], what is needed, what there is and the batch that would fit.
// [NewSolver] asks too.
func (p Problem) Fits(o Options) error {
	device := p.Prior.Device().Info()
	short := func(n int) (what string) {
		total, largest := foresee(p.Prior, o, n)
		switch mib := func(bytes int64) int64 { return (bytes + mebibyte - 1) / mebibyte }; {
		case device.MaxArray > 0 && largest > device.MaxArray:
			return fmt.Sprintf("an array of %d MiB on %s, which takes %d MiB in one", mib(largest), device.Name, device.MaxArray/mebibyte)
		case device.Memory > 0 && total > device.Memory:
			return fmt.Sprintf("%d MiB of memory on %s, %d MiB are free", mib(total), device.Name, device.Memory/mebibyte)
		}
		return ""
	}
	what := short(p.N)
	if what == "" {
		return nil
	}
	most := sort.Search(p.N-1, func(n int) bool { return short(n+1) != "" })
	advice := fmt.Sprintf("a batch of %d would fit", most)
	if most == 0 {
		advice = "not even one image fits: leave the information term out, or take a smaller model or another device"
	}
	return fmt.Errorf("a batch of %d needs %s: %s: %w", p.N, what, advice, compute.ErrMemory)
}
