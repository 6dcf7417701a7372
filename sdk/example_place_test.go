package sdk_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// onProcessor opens the embedded prior on the processor. With a GPU it would open that
// first, and the processor when loss says that the GPU is lost or too small.
func onProcessor(_ context.Context, loss sdk.Loss) (prior.Model, func(), error) {
	if loss.Cause != nil {
		fmt.Println("lost:", loss.Cause)
	}
	dev := cpu.New(0)
	file, err := faces64.Open()
	if err != nil {
		return nil, nil, err
	}
	model, err := unet.Load(dev, file, nil)
	if err != nil {
		return nil, nil, err
	}
	return model, func() { model.Close(); dev.Close() }, nil
}

// At a place a run outlives its device: the problem is made anew on the next one, and
// the run goes on from its last finished step.
func ExamplePlace() {
	ctx := context.Background()
	place, err := sdk.NewPlace(ctx, onProcessor)
	if err != nil {
		log.Fatal(err)
	}
	defer place.Close()
	options, err := sdk.Defaults(place.Prior(), "blur", 2)
	if err != nil {
		log.Fatal(err)
	}
	x, err := place.Restore(ctx, func(m prior.Model) (sdk.Problem, func(), error) {
		c, h, w := m.Image()
		blur, err := measure.ForTask("blur", m.Device(), c, h, w, measure.Inputs{})
		if err != nil {
			return sdk.Problem{}, nil, err
		}
		face, err := faces.Load(1)
		if err != nil {
			return sdk.Problem{}, blur.Close, err
		}
		y, err := sdk.Measure(m.Device(), blur, face[0].Pix, 0.05, 1, nil)
		return sdk.Problem{Prior: m, Operator: blur, Y: y, N: 1, SigmaY: 0.05}, blur.Close, err
	}, options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(x), "values")
	// Output: 12288 values
}
