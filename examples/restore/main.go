// Command restore makes a face four times as large: the shortest complete use of
// the SDK. Run it from the repository's root:
//
//	go run ./examples/restore examples/faces/01.png restored.png
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: restore IN.png OUT.png")
	}
	if err := restore(context.Background(), os.Args[1], os.Args[2], 50); err != nil {
		log.Fatal(err)
	}
}

func restore(ctx context.Context, in, out string, steps int) error {
	dev := cpu.New(0)
	defer dev.Close()
	weights, err := faces64.Open()
	if err != nil {
		return err
	}
	model, err := unet.Load(dev, weights, nil)
	if err != nil {
		return err
	}
	defer model.Close()

	face, err := picture.Open(in)
	if err != nil {
		return err
	}
	if face, err = picture.Fit(face, 64, 64, picture.Crop); err != nil {
		return err
	}
	op, err := measure.NewSuperResolution(dev, 3, 64, 64, 4)
	if err != nil {
		return err
	}
	defer op.Close()
	const sigmaY, seed = 0.05, 1
	y, err := sdk.Measure(dev, op, face.Pix, sigmaY, seed, nil)
	if err != nil {
		return err
	}

	options, err := sdk.Defaults(model, "sr4", steps)
	if err != nil {
		return err
	}
	term := cmi.Defaults() // leave CMI nil for plain DPS
	options.CMI, options.Seed = &term, seed
	options.OnStep = func(p sdk.Progress) { fmt.Printf("\rstep %d of %d", p.Step, p.Steps) }
	x, err := sdk.Restore(ctx, sdk.Problem{Prior: model, Operator: op, Y: y, N: 1, SigmaY: sigmaY}, options)
	if err != nil {
		return err
	}
	fmt.Println()
	return picture.Image{C: 3, H: 64, W: 64, Pix: x}.SavePNG(out)
}
