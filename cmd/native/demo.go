package main

import (
	"context"
	"fmt"
	"image"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/examples/photos"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// demoTasks are the tasks of the faces, in the order of the grid, with their labels.
var demoTasks = []struct{ name, label string }{
	{"box", "box\ninpainting"}, {"sr4", "4× super-\nresolution"}, {"inpaint", "90 % random\ninpainting"}, {"blur", "Gaussian\nblur"},
}

type demoFlags struct {
	modelFlags
	specFlags
	out, images, photo string
	faces, samples     int
}

func demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Restore faces and a photograph, with other possible answers and where they differ",
		Long: `demo degrades faces (box inpainting, 4× super-resolution, 90 % random inpainting, Gaussian blur) and a photograph
(4× super-resolution), each with noise, and draws one labelled grid of them, demo.png: truth, measurement, the best
restoration, two other possible answers, and the standard deviation of --samples of them, which says where the picture
is sure; all by the methods that restore takes. PSNR (dB) and SSIM stand under the pictures. demo.json beside it has the
version, the device and the flags.`,
		Example: `  cmi-native demo
  cmi-native demo --steps 50 --samples 16
  cmi-native demo --images DIR --photo holiday.jpg      # your own pictures`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return demo(c, &f) },
	}
	f.modelFlags.add(c)
	f.addFallback(c)
	f.specFlags.add(c, 100)
	fl := c.Flags()
	fl.Lookup("steps").DefValue, fl.Lookup("steps").Usage = "0", "reverse steps; if left out, as many as restore takes"
	fl.Float64Var(&f.SigmaY, "sigma-y", f.SigmaY, "standard deviation of the measurement noise, images in [-1, 1]")
	fl.StringVar(&f.out, "out", "out", "`DIR` for the grid")
	fl.StringVar(&f.images, "images", "", "`DIR` of pictures instead of the faces that are built in")
	fl.IntVar(&f.faces, "faces", len(demoTasks), "how many faces take turns in the tasks")
	fl.StringVar(&f.photo, "photo", "", "photograph `FILE` to restore at its own size instead of the one that is built in; none for no photograph")
	fl.IntVar(&f.samples, "samples", 5, "samples of each picture, at least 2")
	return c
}

// subject is what a row of the demo shows.
type subject struct {
	label, task string
	image       job.Image
}

func demo(c *cobra.Command, f *demoFlags) error {
	if f.samples < 2 || f.samples > mostOfEach {
		return fmt.Errorf("--samples is %d, 2 to %d are possible", f.samples, mostOfEach)
	}
	truths, err := interruptible(c.Context(), func() ([]picture.Image, error) { return demoFaces(f.images, f.faces) })
	if err != nil {
		return err
	}
	parts := []*demoPart{{demoFlags: f, own: restoreFlags{modelFlags: f.modelFlags, specFlags: f.specFlags, reduced: 1, firstImage: 1}}}
	if f.photo != "none" {
		photograph := *parts[0]
		photograph.own.prior, photograph.own.key, photograph.own.config, photograph.own.class = "photos64", "", "", -1
		parts = append(parts, &photograph)
	}
	for k, p := range parts {
		if p.place, err = p.own.place(c.Context()); err != nil {
			return err
		}
		defer p.place.Close()
		if k == 0 {
			p.subjects, err = p.people(truths)
		} else {
			p.subjects, err = p.photograph(c)
		}
		if err == nil {
			err = p.plan(c.Context(), c.Flags().Changed("steps"))
		}
		if err != nil {
			return err
		}
	}
	made, err := newManifest(c, &f.modelFlags, parts[0].place.Prior().Device().Info())
	if err != nil {
		return err
	}
	if err := prepareFolder(f.out); err != nil {
		return err
	}
	d := demonstration{demoFlags: f}
	if err := d.run(c, parts); err != nil {
		return err
	}
	if err := d.summarise(c.OutOrStdout()); err != nil {
		return err
	}
	saveGrid(c.OutOrStdout(), c.ErrOrStderr(), filepath.Join(f.out, "demo.png"), d.draw)
	return (&outputFlags{out: f.out}).finish(c, made, "demo", []string{"demo.png"}, nil)
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

// demoPart are the subjects of one prior.
type demoPart struct {
	*demoFlags
	own      restoreFlags
	place    *sdk.Place
	subjects []subject
	jobs     [][2]*job.Job // of each subject: the best restoration, and the samples
}

// people returns the faces in the demo's tasks.
func (p *demoPart) people(truths []picture.Image) (all []subject, err error) {
	_, h, w := p.place.Prior().Image()
	for k, task := range demoTasks {
		face, err := picture.Fit(truths[k%len(truths)], h, w, picture.Crop)
		if err != nil {
			return nil, err
		}
		all = append(all, subject{task.label, task.name, imageOf(face, k)})
	}
	return all, nil
}

// photograph returns the picture that is restored at its own size.
func (p *demoPart) photograph(c *cobra.Command) ([]subject, error) {
	s := subject{label: "a photograph,\n4× super-\nresolution", task: "sr4"}
	if p.photo == "" {
		cat, err := photos.Cat()
		s.image = imageOf(cat, 0)
		return []subject{s}, err
	}
	p.own.Task = s.task
	images, err := p.own.openOwnSize(c, p.place.Prior(), []string{p.photo}, []int{0})
	if err != nil {
		return nil, err
	}
	s.image = images[0]
	return []subject{s}, nil
}

// plan makes all jobs, and so every measurement, before any sampling. The steps are the methods' own unless they are fixed.
func (p *demoPart) plan(ctx context.Context, fixedSteps bool) error {
	p.jobs = make([][2]*job.Job, len(p.subjects))
	return p.place.Do(ctx, func(m prior.Model) (err error) {
		for i, s := range p.subjects {
			for k, samples := range []int{1, p.samples} {
				p.own.Task, p.own.samples = s.task, samples
				usual := p.own.Spec.Usual(samples)
				p.own.Method = usual.Method
				if !fixedSteps {
					p.own.Steps = usual.Steps
				}
				if p.own.Start, err = p.own.Spec.UsualStart(m); err != nil {
					return err
				}
				if p.jobs[i][k], err = p.own.job(m, p.own.eachSample([]job.Image{s.image})); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// demonstration gathers the rows of the demo.
type demonstration struct {
	*demoFlags
	rows []demoRow
}

// demoRow is what was made of a subject.
type demoRow struct {
	subject
	methods                       [2]string // of the best restoration and the samples
	measured                      picture.Cell
	truth, best                   picture.Image
	samples                       []picture.Image
	mean                          picture.Image
	std                           []float32 // of each pixel, over the samples
	ofBest, first, second, ofMean scores    // of the best restoration, two samples and the samples' mean
}

// run makes the rows of all subjects.
func (d *demonstration) run(c *cobra.Command, parts []*demoPart) error {
	passes := 0
	for _, p := range parts {
		for _, jobs := range p.jobs {
			passes += jobs[0].Plan.Passes() + jobs[1].Plan.Passes()
		}
	}
	bar := newProgress(c.ErrOrStderr(), passes)
	for _, p := range parts {
		for i, s := range p.subjects {
			var restored [2][]picture.Image
			for k, j := range p.jobs[i] {
				report := bar.run(fmt.Sprintf("%-8s %s", s.task, j.Spec.Method))
				j.Options.OnStep = func(p sdk.Progress) { report(p.Passes) }
				images, err := j.Run(c.Context(), p.place)
				if err != nil {
					return failed(err)
				}
				for _, image := range images {
					restored[k] = append(restored[k], p.own.cropped(pictureOf(image), p.own.indexOf(image)))
				}
			}
			truth := p.own.cropped(pictureOf(s.image), p.own.indexOf(s.image))
			if err := d.add(demoRow{subject: s, methods: [2]string{p.jobs[i][0].Spec.Method, p.jobs[i][1].Spec.Method}, measured: measuredCell(p.jobs[i][0].Measurements[0]), truth: truth, best: restored[0][0], samples: restored[1]}); err != nil {
				return err
			}
		}
	}
	bar.finish()
	return nil
}

// add completes a row by what its samples say together.
func (d *demonstration) add(row demoRow) error {
	var pix [][]float32
	for _, p := range row.samples {
		pix = append(pix, p.Pix)
	}
	e, err := certainty.Of(pix)
	if err != nil {
		return failed(err)
	}
	row.mean = row.best
	row.mean.Pix, row.std = e.Mean, overChannels(e.Std, row.best.C)
	for p, to := range map[*picture.Image]*scores{&row.best: &row.ofBest, &row.samples[0]: &row.first, &row.samples[1]: &row.second, &row.mean: &row.ofMean} {
		if *to, err = score(*p, row.truth); err != nil {
			return err
		}
	}
	d.rows = append(d.rows, row)
	return nil
}

// summarise prints the figures of each row.
func (d *demonstration) summarise(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "task\tbest restoration\t\tone sample\t\tmean of %d\ttheir standard deviation\n", d.samples)
	for _, r := range d.rows {
		mean := 0.0
		for _, s := range r.std {
			mean += float64(s) / float64(len(r.std))
		}
		fmt.Fprintf(t, "%s\t%v\t%s\t%v\t%s\t%v\t%.3f\n", r.task, r.ofBest, r.methods[0], r.first, r.methods[1], r.ofMean, mean)
	}
	return t.Flush()
}

// draw draws the grid with the scale of the standard deviations.
func (d *demonstration) draw() (*image.RGBA, error) {
	grid := picture.Grid{
		Title:   "A noisy measurement, the best restoration, two other pictures that explain it too, and where such pictures differ",
		Columns: []string{"truth", "measurement", "best restoration", "another answer", "another answer", "where they differ"}, Smooth: true, CellSize: 144,
		Note: fmt.Sprintf("PSNR and SSIM, and the method, under each picture. Right: the standard deviation of %d samples. σ_y = %g, seed %d.", d.samples, d.SigmaY, d.Seed),
	}
	s := picture.Scale{Label: "standard deviation of the samples, pictures in [-1, 1]", Colour: heat}
	for _, r := range d.rows { // a few pixels may be beyond the scale, for the others to be told apart
		sorted := slices.Sorted(slices.Values(r.std))
		s.Top = max(s.Top, picture.TopOf(sorted[:len(sorted)*199/200+1]))
	}
	for _, r := range d.rows {
		std, err := s.Draw(r.std, r.truth.H, r.truth.W)
		if err != nil {
			return nil, err
		}
		grid.Rows = append(grid.Rows, picture.Row{Label: r.label, Cells: []picture.Cell{
			{Image: r.truth}, r.measured, {Image: r.best, Caption: r.ofBest.String() + "\n" + r.methods[0]},
			{Image: r.samples[0], Caption: r.first.String() + "\n" + r.methods[1]}, {Image: r.samples[1], Caption: r.second.String() + "\n" + r.methods[1]}, {Image: picture.From(std)},
		}})
	}
	grid.Scale = &s
	return grid.Draw()
}
