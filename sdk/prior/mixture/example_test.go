package mixture_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// A random inverse problem, its exact posterior, and how far prior samples are
// from it: the scale on which a sampler's distance is read.
func Example() {
	problem, err := mixture.NewProblem(mixture.ProblemConfig{Components: 25, Dim: 8, Rows: 3, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	posterior, err := problem.Posterior()
	if err != nil {
		log.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	exact, again := posterior.Sample(400, rng), posterior.Sample(400, rng)
	unguided, err := problem.Prior.SamplePrior(400, rng)
	if err != nil {
		log.Fatal(err)
	}
	floor, err := mixture.SlicedWasserstein(exact, again, 200, rng)
	if err != nil {
		log.Fatal(err)
	}
	distance, err := mixture.SlicedWasserstein(exact, unguided, 200, rng)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("posterior against itself below 0.1:", floor < 0.1)
	fmt.Println("prior against posterior above 0.4:", distance > 0.4)
	// Output:
	// posterior against itself below 0.1: true
	// prior against posterior above 0.4: true
}

// The mixture as a diffusion model: ε at two noise levels.
func ExampleModel() {
	m := &mixture.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-1, 0}, {1, 0}}, Std: 0.1}
	device := cpu.New(0)
	defer device.Close()
	model, err := mixture.NewModel(m, []float64{0.9, 0.1}, device)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	x, err := compute.FromHost(device, []float32{0.5, 0.5, 0.5, 0.5}, 2, 1, 1, 2)
	if err != nil {
		log.Fatal(err)
	}
	point, err := model.At(x, []int{0, 1})
	if err != nil {
		log.Fatal(err)
	}
	eps, err := compute.ToHost(device, point.Out())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.4f\n", eps)
	// Output: [-1.3008 1.4506 0.4686 0.5265]
}

// The information that a measurement would give about x0, and where to move x_t
// to raise it.
func ExampleLocal_Information() {
	problem, err := mixture.NewProblem(mixture.ProblemConfig{Components: 25, Dim: 8, Rows: 3, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	local, err := problem.Prior.At(make([]float64, 8), 0.5)
	if err != nil {
		log.Fatal(err)
	}
	gradient := make([]float64, 8)
	before, err := local.Information(gradient, problem.A, problem.SigmaY)
	if err != nil {
		log.Fatal(err)
	}
	for i := range gradient {
		gradient[i] *= 0.01
	}
	moved, err := problem.Prior.At(gradient, 0.5)
	if err != nil {
		log.Fatal(err)
	}
	after, err := moved.Information(nil, problem.A, problem.SigmaY)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("information rose along its gradient:", after > before)
	// Output: information rose along its gradient: true
}
