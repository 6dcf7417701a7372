package sdk_test

import (
	"fmt"
	"log"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// twoPoints are two clusters in the plane, and a measurement of the first coordinate
// in which the second is zero.
func twoPoints() (p sdk.Problem, o sdk.Options, err error) {
	dev := cpu.New(0)
	betas, err := diffusion.LinearBetas(100, 1e-3, 0.1)
	if err != nil {
		return p, o, err
	}
	clusters := &mixture.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-1, 0.5}, {1, -0.5}}, Std: 0.1}
	model, err := mixture.NewModel(clusters, diffusion.AlphaBars(betas), dev)
	if err != nil {
		return p, o, err
	}
	first, err := measure.NewMask(dev, 1, 1, 2, []float32{1, 0})
	if err != nil {
		return p, o, err
	}
	schedule, err := diffusion.New(betas, 50)
	return sdk.Problem{Prior: model, Operator: first, Y: []float32{0.9, 0}, N: 1, SigmaY: 0.1},
		sdk.Options{Method: guide.DPS{Scale: 0.3}, Schedule: schedule, Variance: diffusion.FixedSmall, NoClip: true, Seed: 7}, err
}

// A run is stopped after some steps, its state kept, and another solver goes on from
// there: the result is that of a run that was not stopped.
func ExampleSolver() {
	problem, options, err := twoPoints()
	if err != nil {
		log.Fatal(err)
	}
	solver := func() *sdk.Solver {
		s, err := sdk.NewSolver(problem, options)
		if err != nil {
			log.Fatal(err)
		}
		return s
	}
	finish := func(s *sdk.Solver) []float32 {
		for {
			x, next, err := s.State()
			if err != nil {
				log.Fatal(err)
			}
			if next < 0 { // the step of index 0 was the last
				return x
			}
			if err := s.Step(); err != nil {
				log.Fatal(err)
			}
		}
	}

	one := solver()
	defer one.Close()
	for range 20 {
		if err := one.Step(); err != nil {
			log.Fatal(err)
		}
	}
	x, next, err := one.State()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stopped before the step of index", next, "after", one.Passes(), "passes")

	other := solver()
	defer other.Close()
	if err := other.SetState(x, next); err != nil {
		log.Fatal(err)
	}
	a, b := finish(one), finish(other)
	fmt.Println("the same:", slices.Equal(a, b))
	fmt.Println("on the right:", a[0] > 0.5 && a[1] < 0)
	// Output:
	// stopped before the step of index 29 after 40 passes
	// the same: true
	// on the right: true
}
