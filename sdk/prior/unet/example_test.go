package unet_test

import (
	"fmt"
	"log"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// The embedded network at pure noise: its prediction ε, and the derivative of ε along
// a direction. checkpoint.Open opens a file of your own instead.
func ExampleLoad() {
	dev := cpu.New(0)
	defer dev.Close()
	weights, err := faces64.Open()
	if err != nil {
		log.Fatal(err)
	}
	model, err := unet.Load(dev, weights, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	c, h, w := model.Image()
	work := compute.NewWorkspace(dev)
	defer work.Free()
	x, v := work.New(1, c, h, w), work.New(1, c, h, w)
	if err := work.Err(); err != nil {
		log.Fatal(err)
	}
	dev.Normals(x, make([]compute.PhiloxBlock, 1))
	dev.Combine(v, compute.Times(0.1, x))
	at, err := model.At(x, []int{model.Steps() - 1})
	if err != nil {
		log.Fatal(err)
	}
	epsilon, err := compute.ToHost(dev, at.Out())
	if err != nil {
		log.Fatal(err)
	}
	jv, err := at.JVP(v)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ε and variance channels:", at.Out(), len(epsilon), "values")
	fmt.Println("J v:", jv)
	// Output:
	// ε and variance channels: 1×6×64×64 24576 values
	// J v: 1×6×64×64
}
