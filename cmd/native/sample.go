package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// mostSamples bounds what sample draws.
const mostSamples = 1_000_000

func sampleCommand() *cobra.Command {
	var model modelFlags
	var sampling specFlags
	var results outputFlags
	var count, size, first int
	c := &cobra.Command{
		Use:   "sample",
		Short: "Draw images from the prior, without any measurement",
		Long: `sample draws images from the prior alone and writes them and a grid of all, samples.png.

The faces of the built-in prior, a small network, have the right shapes and often false colours: with
100, 250 and 1000 steps and with DDIM alike. In a restoration the measurement settles the colours.

Ctrl-C stops within one step and keeps what is finished.`,
		Example: `  cmi-native sample --count 8
  cmi-native sample --count 4 --steps 250 --ddim 0 --out samples`,
		Annotations: onStop("finished pictures are kept"),
		Args:        arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1 || count > mostSamples {
				return fmt.Errorf("--count is %d, 1 to %d are possible", count, mostSamples)
			}
			if first < 1 || first > 1<<31 {
				return fmt.Errorf("--first-image is %d, 1 to %d are possible", first, 1<<31)
			}
			if size < 1 {
				return fmt.Errorf("--batch is %d, at least 1 is wanted", size)
			}
			size = min(size, count)
			places, err := model.places(c.Context())
			if err != nil {
				return err
			}
			defer closePlaces(places)
			sampling.Task, sampling.Method = "", "unconditional"
			var plan sdk.Plan
			if err := places[0].Do(c.Context(), func(m prior.Model) (err error) {
				if plan, err = sampling.Plan(m, size); err != nil {
					return err
				}
				return plan.Fits()
			}); err != nil {
				return err
			}
			made, err := newManifest(c, &model, places[0].Prior().Device().Info())
			if err != nil {
				return err
			}
			var all []job.Image
			for i := range count {
				image := job.Image{Name: fmt.Sprintf("sample%03d", first+i), Number: uint64(first - 1 + i)}
				one := made
				one.Number = first + i
				needed, err := results.todo(image.Name, one, []string{image.Name + ".png"})
				if err != nil {
					return err
				}
				if needed {
					all = append(all, image)
				}
			}
			if count = len(all); count == 0 {
				fmt.Fprintf(results.notes(c), "all samples are in %s already\n", results.out)
				return nil
			}
			unlock, err := results.lock()
			if err != nil {
				return err
			}
			defer unlock()
			for _, image := range all { // another run may have been here since
				one := made
				one.Number = int(image.Number) + 1
				if _, err := results.todo(image.Name, one, []string{image.Name + ".png"}); err != nil {
					return err
				}
			}
			const gridName = "samples.png"
			if err := results.checkGrids(gridName); err != nil {
				return err
			}
			runs := (count + size - 1) / size
			bar := newProgress(c.ErrOrStderr(), plan.Passes()*runs)
			grid := picture.Grid{Title: "Samples of the prior", Smooth: true, CellSize: 128, Note: fmt.Sprintf("%d steps, seed %d", sampling.Steps, sampling.Seed)}
			pictures := make([]picture.Image, min(count, mostInGrid))
			if err := share(c.Context(), places, runs, func(ctx context.Context, lane, k int) error {
				from, n := k*size, min(size, count-k*size)
				images := all[from : from+n]
				_, drawn, err := runJob(ctx, places[lane], sampling.Spec, bar.run(images[0].Name), images...)
				if err != nil {
					return err
				}
				for i := range n {
					p := pictureOf(drawn[i])
					if err := p.SavePNG(filepath.Join(results.out, p.Name+".png")); err != nil {
						return err
					}
					one := made
					one.Number = int(drawn[i].Number) + 1
					if err := results.finish(c, one, p.Name, []string{p.Name + ".png"}, nil); err != nil {
						return err
					}
					if from+i < len(pictures) {
						pictures[from+i] = p
					}
				}
				return nil
			}); err != nil {
				return failed(err)
			}
			for row := range slices.Chunk(pictures, 8) {
				var cells []picture.Cell
				for _, p := range row {
					cells = append(cells, picture.Cell{Image: p})
				}
				grid.Rows = append(grid.Rows, picture.Row{Cells: cells})
			}
			bar.finish()
			results.saveGrid(c, gridName, grid.Draw)
			return nil
		},
	}
	model.add(c)
	model.addFallback(c)
	model.addGPUs(c)
	sampling.add(c, 100)
	results.add(c, "the pictures")
	c.Flags().IntVar(&first, "first-image", 1, "number of the first sample: what is drawn depends on it")
	c.Flags().IntVar(&count, "count", 8, fmt.Sprintf("how many; the grid shows the first %d", mostInGrid))
	c.Flags().IntVar(&size, "batch", 1, "images sampled together, faster on a GPU; an image does not depend on it")
	return c
}
