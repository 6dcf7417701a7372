package cmi_test

import (
	"fmt"
	"log"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// tweedie makes a denoiser of a prior's point: x̂0 = (x_t − σ_t ε)/√ᾱ_t.
type tweedie struct {
	prior.Point
	dev       compute.Device
	work      *compute.Workspace
	cxt, ceps float64 // 1/√ᾱ_t and −σ_t/√ᾱ_t
}

func (p tweedie) JVP(v compute.Tensor) (compute.Tensor, error) {
	jv, err := p.Point.JVP(v)
	out := p.work.Like(v)
	if err == nil {
		p.dev.Combine(out, compute.Times(p.cxt, v), compute.Times(p.ceps, jv))
	}
	return out, err
}

func (p tweedie) Second(v, w compute.Tensor) (compute.Tensor, error) {
	d2, err := p.Point.Second(v, w)
	out := p.work.Like(v)
	if err == nil {
		p.dev.Combine(out, compute.Times(p.ceps, d2))
	}
	return out, err
}

// The information that a measurement of the first of two coordinates holds about
// x0, and its gradient, halfway between two Gaussians: it points to where the two
// can't be told apart, for there the measurement says most.
func Example() {
	dev := cpu.New(0)
	defer dev.Close()
	two := &mixture.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-1, 0}, {1, 0}}, Std: 0.1}
	const alphaBar = 0.25
	model, err := mixture.NewModel(two, []float64{alphaBar}, dev)
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
	point, err := model.At(work.FromHost([]float32{0.4, 0.1}, 1, 1, 1, 2), []int{0})
	if err != nil {
		log.Fatal(err)
	}
	options := cmi.Defaults()
	options.Lanczos = 1 // as many as there are measurements: exact
	term, err := cmi.New(dev, first, 1, options)
	if err != nil {
		log.Fatal(err)
	}
	defer term.Close()
	denoiser := tweedie{point, dev, work, 2, -1.7320508}
	gradient, information, err := term.Gradient(denoiser, cmi.Level{AlphaBar: alphaBar, SigmaY: 0.1}, func(_ int, z []float32) {
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
