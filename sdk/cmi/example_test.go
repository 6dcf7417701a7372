package cmi_test

import (
	"fmt"
	"log"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// The information that a measurement of the first of two coordinates holds about
// x0, and its gradient, halfway between two Gaussians: it points to where the two
// can't be told apart, for there the measurement says most.
func Example() {
	dev := cpu.New(0)
	defer dev.Close()
	two := &mixture.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-1, 0}, {1, 0}}, Std: 0.1}
	betas := []float64{0.75} // one step, ᾱ = 0.25
	schedule, err := diffusion.New(betas, 1)
	if err != nil {
		log.Fatal(err)
	}
	model, err := mixture.NewModel(two, diffusion.AlphaBars(betas), dev)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	first, err := measure.NewMask(dev, 1, 1, 2, []float32{1, 0})
	if err != nil {
		log.Fatal(err)
	}
	defer first.Close()

	work := compute.NewWorkspace(dev)
	defer work.Free()
	x, mean := work.FromHost([]float32{0.4, 0.1}, 1, 1, 1, 2), work.New(1, 1, 1, 2)
	denoiser := prior.NewTweedie(model)
	defer denoiser.Close()
	if _, err := denoiser.At(x, schedule, 0, mean); err != nil {
		log.Fatal(err)
	}
	options := cmi.Defaults()
	options.Lanczos = 1 // as many as there are measurements: exact
	term, err := cmi.New(dev, first, 1, options)
	if err != nil {
		log.Fatal(err)
	}
	defer term.Close()
	gradient, information, err := term.Gradient(denoiser, krylov.Level{AlphaBar: schedule.AlphaBar(0), SigmaY: 0.1}, func(_ int, z []float32) {
		for i := range z {
			z[i] = 1
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	values, err := compute.ToHost(dev, gradient)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f nats, gradient %.2f\n", information[0], values)
	// Output: 2.28 nats, gradient [-0.17 0.00]
}
