package guide_test

import (
	"context"
	"fmt"
	"log"
	"math"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// Two Gaussians, and a measurement of the first coordinate that tells them apart:
// DPS samples land near the right one.
func ExampleDPS() {
	dev := cpu.New(0)
	defer dev.Close()
	betas, err := diffusion.LinearBetas(100, 1e-3, 0.1)
	if err != nil {
		log.Fatal(err)
	}
	schedule, err := diffusion.New(betas, 100)
	if err != nil {
		log.Fatal(err)
	}
	two := &mixture.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-1, 0.5}, {1, -0.5}}, Std: 0.1}
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

	const samples = 50
	y := make([]float32, 2*samples) // the missing coordinate is zero
	for i := range samples {
		y[2*i] = 0.9
	}
	x, err := sdk.Restore(context.Background(), sdk.Problem{Prior: model, Operator: first, Y: y, N: samples, SigmaY: 0.1},
		sdk.Options{Method: guide.DPS{Scale: 0.3}, Schedule: schedule, Variance: diffusion.FixedSmall})
	if err != nil {
		log.Fatal(err)
	}
	near := 0
	for i := range samples {
		if math.Hypot(float64(x[2*i])-1, float64(x[2*i+1])+0.5) < 0.5 {
			near++
		}
	}
	fmt.Println(near, "of", samples)
	// Output: 50 of 50
}
