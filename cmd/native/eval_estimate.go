package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
)

// evalModel returns the prior that a preset is timed with: the user's file, the one that
// is built in, or one with the published network's shapes.
func (f *evalFlags) evalModel(c *cobra.Command) (m *network.Model, weights string, close func(), err error) {
	if f.experiment.Embedded != "" || c.Flags().Changed("prior") {
		m, close, err = f.open(c.Context())
		return m, f.prior, close, err
	}
	m, close, err = f.openFormula(c.Context(), f.experiment)
	return m, "the network of " + f.experiment.Prior + " with made-up weights", close, err
}

// evalEstimate times a few steps and extrapolates to the whole experiment.
func evalEstimate(c *cobra.Command, f *evalFlags) error {
	m, weights, closeModel, err := f.evalModel(c)
	if err != nil {
		return err
	}
	defer closeModel()
	grid := experiment.Grid{Tasks: f.tasks, Methods: f.methods, CMI: f.arms, Names: []string{""}, Samples: f.samples}
	if err := grid.Validate(); err != nil {
		return err
	}
	if _, err := f.plans(m, grid); err != nil {
		return err
	}
	images := f.experiment.Images
	if f.images != "" {
		pictures, err := evalPictures(f.images, f.limit)
		if err != nil {
			return err
		}
		images = len(pictures.names)
	} else if f.limit > 0 {
		images = f.limit
	}
	bar := newProgress(c.ErrOrStderr(), 2*len(f.methods))
	report := bar.run("timing")
	costs, err := experiment.Estimate(c.Context(), m, f.tasks, f.methods, f.Spec, func(done, _ int) { report(done) })
	if err != nil {
		return failed(err)
	}
	bar.finish()
	out := c.OutOrStdout()
	fmt.Fprintf(out, "%s, %d steps, %s\non %s\n\n", f.preset, f.Steps, weights, m.Device().Info().Description)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "method\tpasses per image\tms per pass\tseconds per image\t")
	var passes, seconds float64
	for _, cost := range costs {
		for _, arm := range f.arms { // every choice of the term takes as long
			if (arm == experiment.Without) != (cost.CMI == experiment.Without) {
				continue
			}
			cost.CMI = arm
			fmt.Fprintf(t, "%s\t%.0f\t%.1f\t%.1f\t\n", cost.Title(), cost.Passes, 1000*cost.Seconds/cost.Passes, cost.Seconds)
			passes, seconds = passes+cost.Passes, seconds+cost.Seconds
		}
	}
	if err := t.Flush(); err != nil {
		return failed(err)
	}
	runs := float64(images * len(f.tasks) * f.samples)
	samples := ""
	if f.samples > 1 {
		samples = fmt.Sprintf(" × %d samples", f.samples)
	}
	fmt.Fprintf(out, "\n%d images × %d tasks × %d methods × %d arm(s)%s: %.3g passes, %.3g hours\n",
		images, len(f.tasks), len(f.methods), len(f.arms), samples, runs*passes, runs*seconds/3600)
	grid.Names = make([]string, images)
	if f.nodes > 1 {
		times := map[experiment.Cell]float64{}
		for _, cost := range costs {
			times[cost.Cell] = cost.Seconds
		}
		largest := grid.LargestPart(f.nodes, func(cell experiment.Cell) float64 {
			term := experiment.Without
			if cell.CMI != experiment.Without {
				term = experiment.With
			}
			return times[experiment.Cell{Method: cell.Method, CMI: term}]
		})
		fmt.Fprintf(out, "%d machines like this one: %.3g hours, the largest part\n", f.nodes, largest/3600)
	}
	disk := grid.Disk(f.experiment.Side, f.Steps)
	_, err = fmt.Fprintf(out, "disk: at most %s in %d files\n", humanize.IBytes(uint64(disk.Bytes)), disk.Files)
	return err
}
