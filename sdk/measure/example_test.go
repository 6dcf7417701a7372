package measure_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// A shaken camera with few pixels: motion blur, then means of 4×4 pixels.
func ExampleCompose() {
	dev := cpu.New(0)
	defer dev.Close()
	kernel, err := measure.MotionKernel(15, 0.5, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		panic(err)
	}
	shake, err := measure.NewBlur(dev, 3, 64, 64, kernel, compute.Reflect)
	if err != nil {
		panic(err)
	}
	pixels, err := measure.NewPool(dev, 3, 64, 64, 4)
	if err != nil {
		panic(err)
	}
	op, err := measure.Compose(dev, pixels, shake)
	if err != nil {
		panic(err)
	}
	defer op.Close()
	_, h, w := op.Out()
	fmt.Printf("%s: %d×%d, spectral form: %v\n", op.Name(), h, w, measure.Exact(op))
	// Output: blur+pool4: 16×16, spectral form: false
}

// The magnitude of a picture's spectrum has lost its phases.
func ExampleNewPhaseRetrieval() {
	dev := cpu.New(0)
	defer dev.Close()
	f, err := measure.NewPhaseRetrieval(dev, 1, 64, 64, 2)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	x := make([]float32, 64*64)
	x[10] = 1
	y, err := measure.Measure(dev, f, x, make([]float32, 96*96), 0.05)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d values, all %.4f\n", len(y), y[1234])
	// Output: 9216 values, all 0.0104
}
