package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

func sampleCommand() *cobra.Command {
	var model modelFlags
	var sampling samplingFlags
	var out string
	var count, size int
	c := &cobra.Command{
		Use:   "sample",
		Short: "Draw images from the prior, without any measurement",
		Example: `  cmi-native sample --count 8
  cmi-native sample --count 4 --steps 250 --ddim 0 --out samples`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1 {
				return fmt.Errorf("--count is %d, at least 1 is wanted", count)
			}
			if size < 1 {
				return fmt.Errorf("--batch is %d, at least 1 is wanted", size)
			}
			place, err := model.place(c.Context())
			if err != nil {
				return err
			}
			defer place.Close()
			o, err := sampling.options(place.Prior(), "", "unconditional", false)
			if err != nil {
				return err
			}
			if err := prepareFolder(out); err != nil {
				return err
			}
			ch, h, w := place.Prior().Image()
			bar := newProgress(experiment.Passes(o) * ((count + size - 1) / size))
			grid := picture.Grid{Title: "Samples of the prior", Smooth: true, CellSize: 128, Note: fmt.Sprintf("%d steps, seed %d", sampling.steps, sampling.seed)}
			const columns = 8
			for from := 0; from < count; from += size {
				n := min(size, count-from)
				report := bar.run(fmt.Sprintf("sample %d", from+1))
				o.Images = nil
				for i := range n {
					o.Images = append(o.Images, uint64(from+i))
				}
				o.OnStep = func(p sdk.Progress) { report(p.Passes) }
				x, err := place.Restore(c.Context(), func(m prior.Model) (sdk.Problem, func(), error) {
					nothing, err := measure.NewIdentity(m.Device(), ch, h, w)
					if err != nil {
						return sdk.Problem{}, nil, err
					}
					return sdk.Problem{Prior: m, Operator: nothing, Y: make([]float32, n*ch*h*w), N: n, SigmaY: 1}, nothing.Close, nil
				}, o)
				if err != nil {
					return failed(err)
				}
				for i := range n {
					p := picture.Image{C: ch, H: h, W: w, Pix: x[i*ch*h*w : (i+1)*ch*h*w], Name: fmt.Sprintf("sample%03d", from+i+1)}
					if err := p.SavePNG(filepath.Join(out, p.Name+".png")); err != nil {
						return failed(err)
					}
					if (from+i)%columns == 0 {
						grid.Rows = append(grid.Rows, picture.Row{})
					}
					row := &grid.Rows[len(grid.Rows)-1]
					row.Cells = append(row.Cells, picture.Cell{Image: p})
				}
			}
			if err := bar.bar.Finish(); err != nil {
				return failed(err)
			}
			return saveGrid(c.OutOrStdout(), grid, filepath.Join(out, "samples.png"))
		},
	}
	model.add(c)
	model.addFallback(c)
	sampling.add(c, 100)
	c.Flags().StringVar(&out, "out", "out", "`DIR` for the pictures")
	c.Flags().IntVar(&count, "count", 8, "how many")
	c.Flags().IntVar(&size, "batch", 1, "images sampled together, faster on a GPU; an image does not depend on it")
	return c
}
