package sdk_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// A face is reduced to a quarter of its size and restored with the embedded prior, by
// DPS with the information term. Three steps show how; fifty make a picture.
func ExampleRestore() {
	dev := cpu.New(0)
	defer dev.Close()
	file, err := faces64.Open()
	if err != nil {
		log.Fatal(err)
	}
	model, err := unet.Load(dev, file, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	face, err := faces.Load(1)
	if err != nil {
		log.Fatal(err)
	}

	const sigmaY = 0.05
	c, h, w := model.Image()
	quarter, err := measure.ForTask("sr4", dev, c, h, w, measure.Inputs{})
	if err != nil {
		log.Fatal(err)
	}
	defer quarter.Close()
	y, err := sdk.Measure(dev, quarter, face[0].Pix, sigmaY, 1, nil)
	if err != nil {
		log.Fatal(err)
	}

	options, err := sdk.Defaults(model, "sr4", 3)
	if err != nil {
		log.Fatal(err)
	}
	term := cmi.Defaults()
	options.CMI = &term
	options.OnStep = func(p sdk.Progress) { fmt.Printf("step %d of %d\n", p.Step, p.Steps) }
	x, err := sdk.Restore(context.Background(), sdk.Problem{Prior: model, Operator: quarter, Y: y, N: 1, SigmaY: sigmaY}, options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d measured values, %d restored: %d×%d×%d\n", len(y), len(x), c, h, w)
	// Output:
	// step 1 of 3
	// step 2 of 3
	// step 3 of 3
	// 768 measured values, 12288 restored: 3×64×64
}
