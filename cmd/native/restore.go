package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

type restoreFlags struct {
	modelFlags
	samplingFlags
	task, method, out, mask, kernel, border string
	cmi, resize, crop                       bool
	isMeasured, diagnostics, npy            bool
	noise                                   string
	rate                                    float64
	batch                                   int
}

func restoreCommand() *cobra.Command {
	var f restoreFlags
	c := &cobra.Command{
		Use:   "restore IN…",
		Short: "Restore pictures from degraded measurements",
		Long: `restore takes each picture, degrades it for the task (4× super-resolution, random or box
inpainting, Gaussian blur, noise) and restores it from the measurement alone; that is how methods
are compared. With --measured the pictures are the measurements themselves: a small picture for
sr4, a picture with holes and --mask for inpainting, a blurred one for blur.

It writes NAME.png (restored) and NAME.measurement.png for each picture, as soon as it is done, and
one labelled grid of all, restored.png. IN may be - for standard input, whose NAME is stdin. Ctrl-C
stops within one step and keeps what is finished.`,
		Example: `  cmi-native restore face.png --task sr4                  # DPS
  cmi-native restore face.png --task sr4 --cmi            # with mutual-information guidance
  cmi-native restore *.jpg --crop --task inpaint --steps 200 --out results
  cmi-native restore small.png --task sr4 --measured --sigma-y 0.02
  cmi-native restore hole.png --task mask --mask keep.png --measured
  cmi-native restore face.png --task kernel --kernel motion.npy --border circular
  cmi-native restore face.png --cmi --eta -1 --lanczos 3 --diagnostics`,
		Annotations: kept("finished pictures are kept"),
		Args:        arguments(1, manyArguments),
		RunE:        func(c *cobra.Command, args []string) error { return restore(c, args, &f) },
	}
	f.modelFlags.add(c)
	f.addFallback(c)
	f.addGPUs(c)
	f.samplingFlags.add(c, 100)
	f.addGuidance(c)
	fl := c.Flags()
	fl.StringVar(&f.task, "task", "sr4", "what to restore from: "+strings.Join(taskNames(), ", "))
	fl.StringVar(&f.method, "method", "dps", "sampling method: "+strings.Join(keys(guide.Named), ", "))
	fl.BoolVar(&f.cmi, "cmi", false, "add the gradient of the conditional mutual information")
	fl.StringVar(&f.out, "out", "out", "`DIR` for the results")
	fl.StringVar(&f.mask, "mask", "", "for --task mask: a picture `FILE`, white where the image is known")
	fl.StringVar(&f.kernel, "kernel", "", "for --task kernel: a blur kernel `FILE`, a .npy array or a grey picture of odd size")
	fl.StringVar(&f.border, "border", "reflect", "for --task kernel: how the image goes on beyond its edge, reflect or circular")
	fl.StringVar(&f.noise, "noise", "gaussian", "noise of the measurement: gaussian (--sigma-y) or poisson (--rate)")
	fl.Float64Var(&f.rate, "rate", 1, "for --noise poisson: photons at white are 255 times this")
	fl.IntVar(&f.batch, "batch", 1, "pictures sampled together, faster on a GPU; a picture does not depend on it")
	fl.BoolVar(&f.npy, "npy", false, "also write NAME.npy, the restored values as float32 [C, H, W] in about [-1, 1]")
	fl.BoolVar(&f.isMeasured, "measured", false, "the pictures are measurements: restore them as they are")
	fl.BoolVar(&f.resize, "resize", false, "scale pictures of another size to the prior's")
	fl.BoolVar(&f.crop, "crop", false, "take the centre square of pictures of another shape, then scale")
	fl.BoolVar(&f.diagnostics, "diagnostics", false, "write every step's residual, information, gradient norms and passes to steps.jsonl")
	return c
}

func (f *restoreFlags) fit() picture.Mode {
	switch {
	case f.resize:
		return picture.Resize
	case f.crop:
		return picture.Crop
	}
	return picture.Exact
}

func restore(c *cobra.Command, args []string, f *restoreFlags) (err error) {
	if !slices.Contains(taskNames(), f.task) {
		return fmt.Errorf("unknown task %q: known are %s", f.task, strings.Join(taskNames(), ", "))
	}
	if (f.task == "mask") != (f.mask != "") {
		return errors.New("--task mask and --mask FILE belong together")
	}
	if (f.task == "kernel") != (f.kernel != "") {
		return errors.New("--task kernel and --kernel FILE belong together")
	}
	if f.noise != "gaussian" && (f.noise != "poisson" || f.isMeasured || f.task == "phase") {
		return fmt.Errorf("--noise %q: gaussian, or poisson for a linear task without --measured", f.noise)
	}
	if err := effective(c, append(f.needs(f.cmi, f.method),
		need{f.task == "kernel", "--task kernel", []string{"border"}},
		need{f.noise == "poisson", "--noise poisson", []string{"rate"}})); err != nil {
		return err
	}
	if f.resize && f.crop {
		return errors.New("--resize and --crop: give one of them")
	}
	pictures, names, err := f.openAll(c.InOrStdin(), args)
	if err != nil {
		return err
	}
	if f.batch < 1 {
		return fmt.Errorf("--batch is %d, at least 1 is wanted", f.batch)
	}
	places, err := f.places(c.Context())
	if err != nil {
		return err
	}
	defer closePlaces(places)
	m := places[0].Prior()
	o, err := f.options(m, f.task, f.method, f.cmi)
	if err != nil {
		return err
	}
	var cut []batch
	if err := places[0].Do(c.Context(), func(m prior.Model) error {
		subjects, err := f.subjects(m, pictures)
		if err != nil {
			return err
		}
		cut = batches(subjects, f.batch)
		for _, b := range cut {
			p, err := b.problem(m, f.sigmaY)
			if err == nil {
				err = p.Validate(o)
			}
			if err == nil {
				err = p.Fits(o)
			}
			if err != nil {
				closeAll(subjects)
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	defer func() { closeAll(slices.Concat(cut...)) }()
	if err := prepareFolder(f.out); err != nil {
		return err
	}
	var diagnostics io.Writer
	if f.diagnostics {
		file, err := os.Create(filepath.Join(f.out, "steps.jsonl"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, failed(file.Close())) }()
		diagnostics = &lockedWriter{to: file}
	}

	bar := newProgress(c.ErrOrStderr(), passes(o)*len(cut))
	label := termName(f.method, o.CMI)
	grid := picture.Grid{Title: f.task + ", " + label, Smooth: true, CellSize: 144,
		Note: fmt.Sprintf("σ_y = %g, %d steps, seed %d", f.sigmaY, f.steps, f.seed)}
	rows := make([][]picture.Row, len(cut))
	if err := share(c.Context(), places, len(cut), func(ctx context.Context, lane, k int) error {
		b, o := cut[k], o
		if lane > 0 { // the operators are on the first device
			b = b.apart()
			defer closeAll(b)
		}
		if f.noise == "poisson" {
			o = b.poisson(o)
		}
		restored, err := b.restore(ctx, places[lane], o, f.sigmaY, bar.run(fmt.Sprintf("%s %s", b.name(), label)), diagnostics)
		if err != nil {
			return err
		}
		for i, s := range b {
			row, err := f.save(s, restored[i], names[s.number])
			if err != nil {
				return err
			}
			rows[k] = append(rows[k], row)
		}
		return nil
	}); err != nil {
		return failed(err)
	}
	grid.Rows = slices.Concat(rows...)
	grid.Columns = []string{"truth", "measurement", label}
	if f.isMeasured {
		grid.Columns = grid.Columns[1:]
	}
	bar.finish()
	return saveGrid(c.OutOrStdout(), grid, filepath.Join(f.out, "restored.png"))
}

// save writes a restored picture and its measurement, and gives the grid's row.
func (f *restoreFlags) save(s *measured, restored picture.Image, name string) (row picture.Row, err error) {
	path := filepath.Join(f.out, name)
	if err := errors.Join(restored.SavePNG(path+".png"), s.picture().SavePNG(path+".measurement.png")); err != nil {
		return row, err
	}
	if f.npy {
		if err := restored.SaveNPY(path + ".npy"); err != nil {
			return row, err
		}
	}
	row.Label = name
	seen := picture.Cell{Image: s.picture(), Keep: s.keep}
	if f.isMeasured {
		row.Cells = []picture.Cell{seen, {Image: restored}}
		return row, nil
	}
	q, err := score(restored, s.truth)
	row.Cells = []picture.Cell{{Image: s.truth}, seen, {Image: restored, Caption: q.String()}}
	return row, err
}

// openAll opens every picture before any work, and names the results: the files'
// names without folder and extension. "-" is the picture on in. No two results may be one
// file, nor may a result be a file that is read.
func (f *restoreFlags) openAll(in io.Reader, paths []string) (pictures []picture.Image, names []string, err error) {
	from := map[string]string{"restored.png": "the grid"}
	if f.diagnostics {
		from["steps.jsonl"] = "the diagnostics"
	}
	for _, path := range paths {
		var p picture.Image
		if path == "-" {
			path = "stdin"
			p, err = picture.Decode(in, path)
		} else {
			p, err = picture.Open(path)
		}
		if err != nil {
			return nil, nil, err
		}
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		for _, file := range f.results(name) {
			if other, ok := from[file]; ok {
				return nil, nil, fmt.Errorf("%s and %s would both be written to %s: rename one", other, path, file)
			}
			from[file] = path
		}
		pictures, names = append(pictures, p), append(names, name)
	}
	read := slices.Concat(paths, []string{f.mask, f.kernel, f.prior, f.config})
	for _, file := range slices.Sorted(maps.Keys(from)) {
		there, err := os.Stat(filepath.Join(f.out, file))
		if err != nil {
			continue // nothing to overwrite
		}
		for _, path := range read {
			if input, err := os.Stat(path); err == nil && os.SameFile(there, input) {
				return nil, nil, fmt.Errorf("%s would be overwritten: name another --out", path)
			}
		}
	}
	return pictures, names, nil
}

// results are the files that are written for a picture.
func (f *restoreFlags) results(name string) []string {
	files := []string{name + ".png", name + ".measurement.png"}
	if f.npy {
		files = append(files, name+".npy")
	}
	return files
}

// taskNames are the tasks of the command line.
func taskNames() []string {
	names := []string{"mask", "kernel", "phase"}
	for _, t := range measure.Tasks {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}
