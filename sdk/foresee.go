package sdk

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Foresee is about how many bytes of device memory a run of n images will take
// beside the prior's weights; exact for the network, whose activations are nearly
// all of it. It is 0 where the prior can't tell.
func Foresee(m prior.Model, o Options, n int) int64 {
	f, ok := m.(prior.Foreseer)
	if !ok {
		return 0
	}
	p := compute.Passes{VJP: o.Method.Passes() > 0}
	if o.Method.Passes() > 1 { // the evidence methods take directions of their own
		p.JVP, p.Second = 1, 1
	}
	if o.CMI != nil && o.CMI.Estimator == cmi.Probe {
		if p.Kept = o.CMI.Lanczos; p.Kept == 0 {
			p.Second = 1
		}
	}
	c, h, w := m.Image()
	const images = 24 // states, noise, directions and the Krylov basis
	return f.Foresee(n, p) + images*4*int64(n*c*h*w)
}

// fits refuses a run that the device's memory can't hold, before any work.
func fits(p Problem, o Options) error {
	free, need := p.Prior.Device().Info().Memory, Foresee(p.Prior, o, p.N)
	if free <= 0 || need <= free {
		return nil
	}
	most := p.N - 1
	for most > 0 && Foresee(p.Prior, o, most) > free {
		most--
	}
	advice := fmt.Sprintf("a batch of %d would fit", most)
	if most == 0 {
		advice = "not even one image fits: leave the information term out, or take a smaller model or another device"
	}
	const MiB = 1 << 20
	return fmt.Errorf("a batch of %d needs %d MiB of memory on %s, %d MiB are free: %s: %w",
		p.N, (need+MiB-1)/MiB, p.Prior.Device().Info().Name, free/MiB, advice, compute.ErrMemory)
}
