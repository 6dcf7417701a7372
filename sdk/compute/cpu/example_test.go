package cpu_test

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// A 3×3 box sum of a picture of ones counts the pixels inside the picture.
func ExampleNew() {
	dev := cpu.New(0)
	defer dev.Close()
	ones := []float32{1, 1, 1, 1, 1, 1, 1, 1, 1}
	box, err := dev.PrepareConv(compute.ConvShape{Out: 1, In: 1, Kernel: 3}, ones, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	work := compute.NewWorkspace(dev)
	defer work.Free()
	src, dst := work.FromHost(ones, 1, 1, 3, 3), work.New(1, 1, 3, 3)
	dev.Conv(dst, src, box, compute.ConvMode{})
	fmt.Println(compute.ToHost(dev, dst))
	// Output: [4 6 4 6 9 6 4 6 4] <nil>
}
