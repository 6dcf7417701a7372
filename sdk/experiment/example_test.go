package experiment_test

import (
	"context"
	"fmt"
	"os"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// Two faces, restored by DPS with and without the information term in three steps
// each; a real experiment takes a hundred.
func ExampleRunner() {
	dir, err := os.MkdirTemp("", "experiment")
	check(err)
	defer os.RemoveAll(dir)
	dev := cpu.New(0)
	defer dev.Close()
	weights, err := faces64.Open()
	check(err)
	defer weights.Close()
	model, err := unet.Load(dev, weights, nil)
	check(err)
	defer model.Close()
	judge, err := lpips.Like(dev)
	check(err)
	defer judge.Close()
	truths, err := faces.Load(2)
	check(err)

	grid := experiment.Grid{Tasks: []string{"sr4"}, Methods: []string{"dps"}, CMI: []experiment.Term{experiment.Without, experiment.With}, Names: []string{"01", "02"}, Samples: 1}
	folder, err := experiment.Open(dir, experiment.Settings{"steps": "3", "seed": "1"}, grid)
	check(err)
	defer folder.Close()
	spec := job.Default()
	spec.Steps = 3
	runner := experiment.Runner{Place: sdk.PlaceOf(model), Spec: spec, Perceptual: judge,
		Truth: func(i int) (picture.Image, error) { return truths[i], nil }}
	check(runner.Run(context.Background(), folder))
	summary, err := folder.Summarise(1)
	check(err)
	check(experiment.Report{Preset: experiment.Presets[0], Shown: 2}.Write(folder, summary))
	for _, cell := range summary.Cells {
		fmt.Println(cell.Title(), cell.Pictures, "pictures, difference known:", cell.Difference != nil)
	}
	// Output:
	// DPS 2 pictures, difference known: false
	// CMI+DPS 2 pictures, difference known: true
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
