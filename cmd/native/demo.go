package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// demoTasks in the order of the grid, with their labels.
var demoTasks = []struct{ name, label string }{
	{"sr4", "4× super-\nresolution"}, {"inpaint", "90 % random\ninpainting"}, {"box", "box\ninpainting"}, {"blur", "Gaussian\nblur"},
}

func demoCommand() *cobra.Command {
	var model modelFlags
	var sampling specFlags
	var out, dir string
	var count int
	c := &cobra.Command{
		Use:   "demo",
		Short: "Restore faces for four tasks, DPS beside CMI+DPS, and draw a grid",
		Long: `demo degrades pictures of faces (4× super-resolution, 90 % random inpainting, box inpainting,
Gaussian blur, each with noise), restores them by DPS and by CMI+DPS from the same measurements and
random numbers, and writes one labelled grid with PSNR (dB) and SSIM, demo.png, and beside it demo.json
with the version, the device and the flags. Below it prints the means
over the faces and the paired difference with its 95 % bootstrap interval.`,
		Example: `  cmi-native demo
  cmi-native demo --faces 8 --steps 100
  cmi-native demo --images DIR --faces 16 --eta -1      # your own faces, another weight`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := effective(c, sampling.needs(true, "dps")); err != nil {
				return err
			}
			sampling.CMI.On = true
			if err := sampling.chooseTerm(c, "dps"); err != nil {
				return err
			}
			truths, err := interruptible(c.Context(), func() ([]picture.Image, error) { return demoFaces(dir, count) })
			if err != nil {
				return err
			}
			place, err := model.place(c.Context())
			if err != nil {
				return err
			}
			defer place.Close()
			_, h, w := place.Prior().Image()
			for i := range truths {
				if truths[i], err = picture.Fit(truths[i], h, w, picture.Crop); err != nil {
					return err
				}
			}
			made, err := newManifest(c, &model, place.Prior().Device().Info())
			if err != nil {
				return err
			}
			if err := demo(c, place, truths, sampling, out); err != nil {
				return err
			}
			return (&outputFlags{out: out}).finish(c, made, "demo", []string{"demo.png"}, nil)
		},
	}
	model.add(c)
	model.addFallback(c)
	sampling.add(c, 50)
	sampling.addGuidance(c)
	c.Flags().StringVar(&out, "out", "out", "`DIR` for the grid")
	c.Flags().StringVar(&dir, "images", "", "`DIR` of pictures instead of the faces that are built in")
	c.Flags().IntVar(&count, "faces", 2, "how many faces")
	return c
}

func demoFaces(dir string, n int) ([]picture.Image, error) {
	if dir == "" {
		return faces.Load(n)
	}
	folders, names, err := pairUp([]string{dir}, false)
	if err != nil {
		return nil, fmt.Errorf("--images: %w", err)
	}
	if n < 1 || len(names) < n {
		return nil, fmt.Errorf("--images %s has %d pictures, at least 1 and --faces %d are wanted", dir, len(names), n)
	}
	var out []picture.Image
	for _, name := range names[:n] {
		m, err := picture.Open(folders[0][name])
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// comparison is what demo has measured of one task: scores of each face by each arm.
type comparison struct{ scores [2][]scores }

func demo(c *cobra.Command, place *sdk.Place, truths []picture.Image, f specFlags, out string) error {
	arms := []bool{false, true} // without and with the information term
	total := 0
	for _, withCMI := range arms {
		if err := place.Do(c.Context(), func(m prior.Model) error {
			f.CMI.On = withCMI
			plan, err := f.Plan(m, 1)
			if err != nil {
				return err
			}
			total += plan.Passes() * len(truths) * len(demoTasks)
			return plan.Fits()
		}); err != nil {
			return err
		}
	}
	if err := prepareFolder(out); err != nil {
		return err
	}
	grid := picture.Grid{
		Title:   "Restored by diffusion posterior sampling, without and with mutual-information guidance",
		Columns: []string{"truth", "measurement", "DPS", "CMI+DPS"}, Smooth: true, CellSize: 144,
		Note: fmt.Sprintf("PSNR and SSIM under each picture. σ_y = %g, %d steps, seed %d. The term: %s, η = %g, K = %d.", f.SigmaY, f.Steps, f.Seed, f.CMI.Choice, f.CMI.Eta, f.CMI.Lanczos),
	}
	results := make([]comparison, len(demoTasks))
	bar := newProgress(c.ErrOrStderr(), total)
	for k, task := range demoTasks {
		for i, truth := range truths {
			row := picture.Row{Label: task.label, Cells: []picture.Cell{{Image: truth}}}
			image := imageOf(truth, i)
			image.Name = fmt.Sprintf("face %d", i+1)
			for a, withCMI := range arms {
				f.Task, f.CMI.On = task.name, withCMI
				j, restored, err := runJob(c.Context(), place, f.Spec, bar.run(fmt.Sprintf("%-8s %s", task.name, armName(f.Spec))), image)
				if err != nil {
					return failed(err)
				}
				if a == 0 {
					row.Cells = append(row.Cells, measuredCell(j.Measurements[0]))
				}
				q, err := score(pictureOf(restored[0]), truth)
				if err != nil {
					return err
				}
				results[k].scores[a] = append(results[k].scores[a], q)
				row.Cells = append(row.Cells, picture.Cell{Image: pictureOf(restored[0]), Caption: q.String()})
			}
			grid.Rows = append(grid.Rows, row)
		}
	}
	bar.finish()
	if err := summarise(c.OutOrStdout(), results, f.Seed); err != nil {
		return err
	}
	saveGrid(c.OutOrStdout(), c.ErrOrStderr(), filepath.Join(out, "demo.png"), grid.Draw)
	return nil
}

// summarise prints the means of each task and the paired differences.
func summarise(w io.Writer, results []comparison, seed uint64) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "task\tDPS\tCMI+DPS\tdifference in PSNR (95 % interval)\tin SSIM")
	for k, r := range results {
		var mean [2]scores
		var psnr, ssim [2][]float64
		for a := range mean {
			for _, s := range r.scores[a] {
				n := float64(len(r.scores[a]))
				mean[a].psnr, mean[a].ssim = mean[a].psnr+s.psnr/n, mean[a].ssim+s.ssim/n
				psnr[a], ssim[a] = append(psnr[a], s.psnr), append(ssim[a], s.ssim)
			}
		}
		text := fmt.Sprintf("%s\t%v\t%v", demoTasks[k].name, mean[0], mean[1])
		for _, d := range []struct {
			of     [2][]float64
			format string
			unit   string
		}{{psnr, "%+.2f", " dB"}, {ssim, "%+.4f", ""}} {
			value, lo, hi, err := metric.PairedBootstrap(d.of[1], d.of[0], 2000, seed)
			if err != nil {
				return failed(err)
			}
			text += "\t" + fmt.Sprintf(d.format, value) + d.unit
			if !math.IsNaN(lo) { // a single face has no interval
				text += fmt.Sprintf(" ("+d.format+" … "+d.format+")", lo, hi)
			}
		}
		fmt.Fprintln(t, text)
	}
	if n := len(results[0].scores[0]); n < metric.FewestImages {
		fmt.Fprintf(t, "all of %d face(s) may differ alike by chance: --faces %d or more tell\n", n, metric.FewestImages)
	}
	return t.Flush()
}
