package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
)

type restoreFlags struct {
	modelFlags
	specFlags
	outputFlags
	mask, kernel, operator string
	invertMask             bool
	resize, crop           bool
	diagnostics, npy       bool
	batch, firstImage      int
	samples                int       // of each picture
	calibration            string    // file with the intervals' factor, "" for a built-in one, or none
	valueRange             []float64 // black and white of arrays, if given
	format                 string    // of the results, of pictureFormats

	tiles   bool
	whole   bool
	windows int
	reduced int      // by which factor the files are smaller than the restored pictures
	sizes   [][2]int // height and width of the restored pictures, without padding; nil with the prior's size
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

IN is a picture, - for standard input (whose NAME is stdin), or an array (.npy) of shape [C, H, W],
[H, W, 3] or [H, W]: black is -1 and white 1, unless --range says otherwise, and nothing is rounded.

It writes NAME.png (restored), NAME.measurement.png and NAME.measurement.npy (its exact values, which
--measured takes back) for each picture, as soon as it is done, with NAME.mask.png or NAME.kernel.npy
where the task has one, and one labelled grid of all, restored.png. Ctrl-C stops within one step and
keeps what is finished.

--cmi adds the information term by a named choice. paper adds +∇I, towards pictures of which the
measurement tells much, where the network is unsure; fidelity adds −∇I, towards pictures that it is sure
of, smoother and nearer to the truth on average; spread adds +∇I with twice the limit, so that samples of
one measurement differ more. --cmi alone takes what was best at the method: progress and NAME.json say which.

With --samples N it draws N samples of p(image | measurement) for each picture and writes, beside NAME.png,
which is the first of them, NAME.sample2.png and so on, their mean NAME.mean.png, the standard deviation
of each pixel NAME.std.png, the width of its 90 % interval NAME.width90.png, and a grid certainty.png. The
intervals are scaled by a factor of held pictures where one is known, see calibrate.

With --prior photos64, or --tiles with another prior, pictures of any size keep it: overlapping windows
of the prior's size cover them, each pass of the network counts once a window, and what is smaller than
a window is padded by reflection and cut again.

Masks, kernels and noise that are drawn depend on the seed and on the picture's number in the list,
from --first-image on: restore b.png --first-image 2 is what restore a.png b.png makes of b.png.`,
		Example: `  cmi-native restore face.png --task sr4                  # by the method that is best for the task
  cmi-native restore face.png --task sr4 --cmi            # DPS with mutual-information guidance
  cmi-native restore face.png --task box --cmi spread     # by another choice of it
  cmi-native restore *.jpg --crop --task inpaint --steps 200 --out results
  cmi-native restore small.png --task sr4 --measured --sigma-y 0.02
  cmi-native restore hole.png --task mask --mask keep.png --measured
  cmi-native restore y.npy --measured --operator A.npz --sigma-y 0.02
  cmi-native restore face.png --task kernel --kernel motion.npy --border circular
  cmi-native restore holiday.jpg --prior photos64 --task blur   # at its own size
  cmi-native restore face.png --task box --samples 8      # how sure is it, and where
  cmi-native restore face.png --cmi --eta -1 --lanczos 3 --diagnostics`,
		Annotations: onStop("finished pictures and samples are kept"),
		Args:        arguments(1, manyArguments),
		RunE:        func(c *cobra.Command, args []string) error { return restore(c, args, &f) },
	}
	f.modelFlags.add(c)
	f.addFallback(c)
	f.addGPUs(c)
	f.specFlags.add(c, 100)
	f.addGuidance(c)
	fl := c.Flags()
	fl.StringVar(&f.Task, "task", f.Task, "what to restore from: "+strings.Join(measure.TaskNames(), ", "))
	fl.StringVar(&f.Method, "method", f.Method, "sampling method: "+strings.Join(job.Methods(), ", ")+"; if left out, what is best for the task: ddrm-mean for denoise, sr2, sr4, pool2 and pool4, pathwise-mean for inpaint, matrix and colourise, diffpir from the middle of the process for others, pathwise for --samples, and dps with --cmi, --ddim, --noise poisson or its own flags")
	fl.Lookup("method").DefValue, fl.Lookup("steps").DefValue = "", "0" // the task's
	fl.Lookup("steps").Usage = "reverse steps; if neither they nor the method are given, as many as the method takes for about 100 network passes, else 100"
	f.addTerm(c)
	f.outputFlags.add(c, "the results")
	fl.StringVar(&f.mask, "mask", "", "for --task mask, inpaint and box: a `FILE`, white where the image is known and black or transparent where it is missing, or an array (.npy) of 1 and 0; or a folder with a file of the same name for each picture")
	fl.BoolVar(&f.invertMask, "invert-mask", false, "--mask is white where the image is missing")
	fl.StringVar(&f.kernel, "kernel", "", "for --task kernel and motion: a blur kernel `FILE` of odd size, a .npy array or a picture (black and transparent are 0); it is correlated with the image, not flipped")
	fl.StringVar(&f.operator, "operator", "", "a matrix `FILE` that measures the pictures (task matrix): .npz of scipy.sparse.save_npz or .npy; with H·W columns it acts on each channel, with C·H·W on all, of pictures on [-1, 1]")
	fl.StringVar(&f.Border, "border", f.Border, "for --task kernel: how the image goes on beyond its edge, reflect or circular")
	fl.StringVar(&f.Noise, "noise", f.Noise, "noise of the measurement: gaussian (--sigma-y) or poisson (--rate)")
	fl.Float64Var(&f.Rate, "rate", f.Rate, "for --noise poisson: photons at white are 255 times this")
	fl.IntVar(&f.batch, "batch", 1, "pictures and samples of them that are drawn together, faster on a GPU; a picture does not depend on it")
	fl.IntVar(&f.samples, "samples", 1, "samples of each picture; from 2 on their mean, standard deviation and 90 % intervals are written too")
	fl.StringVar(&f.calibration, "calibration", "", "`FILE` of calibrate with the factor of the intervals; without it a built-in one where there is one, or none for the intervals as the samples give them")
	fl.IntVar(&f.firstImage, "first-image", 1, "number of the first picture: what is drawn for a picture depends on its number")
	fl.Float64SliceVar(&f.valueRange, "range", nil, "values of black and white in arrays (.npy), as 0,1 or 0,255; without it they are -1 and 1")
	fl.StringVar(&f.format, "format", "png", "of the results: "+strings.Join(keys(pictureFormats), ", ")+"; with 16 bits a channel, or 8 for png")
	fl.BoolVar(&f.npy, "npy", false, "also write NAME.npy, the restored values as float32 [C, H, W] in about [-1, 1]")
	fl.BoolVar(&f.Measured, "measured", false, "the pictures are measurements: restore them as they are")
	fl.BoolVar(&f.resize, "resize", false, "scale pictures of another size to the prior's")
	fl.BoolVar(&f.crop, "crop", false, "take the centre square of pictures of another shape, then scale")
	fl.BoolVar(&f.whole, "whole", false, "keep the pictures' own size and apply the prior's network to all of a picture at once, if it takes other sizes than it was trained on")
	fl.BoolVar(&f.tiles, "tiles", false, "keep the pictures' own size and cover them by overlapping windows of the prior's; photos64 does so without this flag")
	fl.IntVar(&f.windows, "windows", 0, "with --tiles or photos64: windows computed together; 0 takes what fits into memory. With fewer, derivatives cost more")
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

// check refuses flags that don't go together, before any file is opened.
func (f *restoreFlags) check(c *cobra.Command, inputs []string) error {
	task, err := measure.FindTask(f.Task)
	if err != nil {
		return err
	}
	for input, file := range map[string]string{"mask": f.mask, "kernel": f.kernel, "operator": f.operator} {
		switch {
		case file != "" && task.Input != input:
			return fmt.Errorf("--%s %s would do nothing: --task %s has no %s", input, file, f.Task, input)
		case file != "" || task.Input != input:
		case task.Draw == nil:
			return fmt.Errorf("--task %s needs --%s FILE", f.Task, input)
		case f.Measured:
			return fmt.Errorf("--task %s --measured needs --%[2]s FILE, the %[2]s that made the pictures: another one would be drawn. restore writes it beside each measurement", f.Task, input)
		}
	}
	if f.resize && f.crop {
		return errors.New("--resize and --crop: give one of them")
	}
	if f.tiles && f.whole {
		return errors.New("--tiles covers pictures by windows, --whole does without: give one of them")
	}
	if own := map[bool]string{f.tiles: "--tiles", f.whole: "--whole"}[true]; own != "" {
		if f.resize || f.crop {
			return fmt.Errorf("%s keeps the pictures' size, --resize and --crop change it: give one of them", own)
		}
		if f.noPicture() || f.operator != "" {
			return fmt.Errorf("%s takes its size from a picture, a measurement of task %s has none: leave it out", own, f.Task)
		}
	}
	if f.windows < 0 {
		return fmt.Errorf("--windows is %d, a positive number is wanted, or 0 for what fits into memory", f.windows)
	}
	if f.batch < 1 {
		return fmt.Errorf("--batch is %d, at least 1 is wanted", f.batch)
	}
	if f.samples < 1 || f.samples > mostOfEach {
		return fmt.Errorf("--samples is %d, 1 to %d are possible", f.samples, mostOfEach)
	}
	if f.firstImage < 1 || f.firstImage > 1<<31 {
		return fmt.Errorf("--first-image is %d, 1 to %d are possible", f.firstImage, 1<<31)
	}
	if _, ok := pictureFormats[f.format]; !ok {
		return fmt.Errorf("--format is %q, known are %s", f.format, strings.Join(keys(pictureFormats), ", "))
	}
	if r := f.valueRange; len(r) != 0 && (len(r) != 2 || !(math.Abs(r[1]-r[0]) > 0) || math.IsInf(r[0], 0) || math.IsInf(r[1], 0)) {
		return fmt.Errorf("--range is %v, two different numbers are wanted, as 0,255", r)
	}
	if err := f.chooseTerm(c, f.Method); err != nil {
		return err
	}
	return effective(c, append(f.needs(f.CMI.On, f.Method),
		need{f.samples > 1, "--samples of at least 2", []string{"calibration"}},
		need{f.mask != "", "--mask", []string{"invert-mask"}},
		need{slices.ContainsFunc(inputs, isArray), "an array (.npy)", []string{"range"}},
		need{f.ownSize() && !f.whole, "--tiles or photos64 without --resize or --crop", []string{"windows"}},
		need{!f.noPicture(), "pictures", []string{"range"}},
		need{task.Input == "kernel", "--task kernel or motion", []string{"border"}},
		need{f.Noise == "poisson", "--noise poisson", []string{"rate"}}))
}

func restore(c *cobra.Command, args []string, f *restoreFlags) (err error) {
	if f.operator != "" && !c.Flags().Changed("task") {
		f.Task = "matrix"
	}
	f.chooseMethod(c)
	if err := f.check(c, args); err != nil {
		return err
	}
	names, err := f.names(args)
	if err != nil {
		return err
	}
	if f.Task == "colourise" && f.prior == "faces64" {
		expect := "expect the right hue for about every second face"
		if usual := guide.MethodFor(f.Task); !strings.HasPrefix(usual, f.Method) { // pathwise is as good
			expect = "most methods end below the grey picture, --method " + usual + " is better"
		}
		fmt.Fprintln(c.ErrOrStderr(), "note: the built-in prior knows colours poorly: "+expect)
	}
	if caution := f.CMI.Caution(f.Method, f.Task); caution != "" {
		fmt.Fprintln(c.ErrOrStderr(), "note: "+caution)
	}
	places, err := f.places(c.Context())
	if err != nil {
		return err
	}
	defer closePlaces(places)
	if given := c.Flags().Changed; !given("method") && !given("start") {
		if f.Start, err = f.Spec.UsualStart(places[0].Prior()); err != nil {
			return err
		}
	}
	made, err := newManifest(c, &f.modelFlags, places[0].Prior().Device().Info())
	if err != nil {
		return err
	}
	scaled, err := f.factor(c, made)
	if err != nil {
		return err
	}
	first := f.firstImage - 1
	manifests := make([]manifest, len(args))
	var todo []int // indices of args
	for i, name := range names {
		if manifests[i], err = made.of(c.Context(), args[i], first+i+1); err != nil {
			return err
		}
		if f.mask != "" {
			mask, err := f.maskOf(args[i])
			if err != nil {
				return err
			}
			if err := manifests[i].hash(c.Context(), "mask", mask); err != nil {
				return err
			}
		}
		needed, err := f.todo(name, manifests[i], f.results(name))
		if err != nil {
			return err
		}
		if needed {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		fmt.Fprintf(f.notes(c), "all %d results are in %s already\n", len(names), f.out)
		return nil
	}
	var images []job.Image
	var jobs []*job.Job
	if err := places[0].Do(c.Context(), func(m prior.Model) (err error) {
		if images == nil { // else they are there since another device was lost
			images, err = f.open(c, m, args, todo)
		}
		if err == nil {
			jobs, err = f.jobs(m, images)
		}
		return err
	}); err != nil {
		return err
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, at := range todo { // another run may have been here since
		if _, err := f.todo(names[at], manifests[at], f.results(names[at])); err != nil {
			return err
		}
	}
	if err := f.checkGrids(f.grids()...); err != nil {
		return err
	}
	r := &restoring{restoreFlags: f, c: c, places: places, names: names, manifests: manifests, todo: todo, jobs: jobs, scaled: scaled}
	if f.diagnostics {
		file, err := createLog(filepath.Join(f.out, "steps.jsonl"), f.skip, f.force)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, failed(file.Close())) }()
		r.diagnostics = &lockedWriter{to: file}
	}
	return failed(r.run())
}

// chooseMethod takes the method and the number of steps that are usual for the task where no flag says. DPS has
// flags that are its own.
func (f *restoreFlags) chooseMethod(c *cobra.Command) {
	given := c.Flags().Changed
	if given("method") {
		return
	}
	usual := f.Spec.Usual(f.samples)
	if slices.ContainsFunc([]string{"scale", "dps-limit", "published"}, given) && f.Task != "colourise" {
		usual.Method, usual.Steps = "dps", 100
	}
	f.Method = usual.Method
	if !given("steps") {
		f.Steps = usual.Steps
	}
}

// jobs makes the job of each batch of images, and so every measurement, before any sampling.
func (f *restoreFlags) jobs(m prior.Model, images []job.Image) (jobs []*job.Job, err error) {
	for _, batch := range ofOneSize(f.eachSample(images), f.batch) {
		j, err := f.job(m, batch)
		if err != nil {
			return nil, err
		}
		for i, y := range j.Measurements {
			if f.Measured && ofOneColour(y) {
				return nil, fmt.Errorf("%s: all pixels that the mask calls known are of one colour: is the mask inverted? --invert-mask turns it", batch[i].Name)
			}
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// job makes the job of a batch of images of one size.
func (f *restoreFlags) job(m prior.Model, batch []job.Image) (*job.Job, error) {
	if !f.ownSize() {
		return job.New(m, f.Spec, batch...)
	}
	h, w := batch[0].H*f.reduced, batch[0].W*f.reduced
	make := func(base prior.Model) (prior.Model, error) {
		return f.Tiles(base, h, w, len(batch), job.Windows{AtOnce: f.windows})
	}
	if f.whole {
		make = func(base prior.Model) (prior.Model, error) { return base.(*network.Model).Resized(h, w) }
	}
	tiled, err := make(m)
	if err != nil {
		return nil, err
	}
	defer tiled.Close()
	j, err := job.New(tiled, f.Spec, batch...)
	if err == nil {
		j.Prior = make
	}
	return j, err
}

// ofOneColour says whether the known pixels of a measurement, of which some are missing,
// have one colour.
func ofOneColour(y job.Measurement) bool {
	first := -1
	for i, known := range y.Known {
		switch {
		case known == 0:
		case first < 0:
			first = i
		default:
			for c := range y.C {
				if y.Y[c*y.H*y.W+i] != y.Y[c*y.H*y.W+first] {
					return false
				}
			}
		}
	}
	return first >= 0
}

// grids are the files that show all results: the restored pictures and, with --samples, what
// the samples say.
func (f *restoreFlags) grids() []string {
	if f.samples > 1 {
		return []string{"restored.png", "certainty.png"}
	}
	return []string{"restored.png"}
}

// names are those of the results: the files' names without folder and extension. "-" is the
// picture on standard input. No two results may be one file, nor may a result be a file that
// is read.
func (f *restoreFlags) names(paths []string) (names []string, err error) {
	from := map[string]string{}
	for _, grid := range f.grids() {
		from[grid] = "the grid"
	}
	if f.diagnostics {
		from["steps.jsonl"] = "the diagnostics"
	}
	for _, path := range paths {
		if path == "-" {
			path = "stdin"
		} else if _, err := os.Stat(path); err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		for _, file := range f.results(name) {
			if other, ok := from[file]; ok {
				return nil, fmt.Errorf("%s and %s would both be written to %s: rename one", other, path, file)
			}
			from[file] = path
		}
		names = append(names, name)
	}
	read := slices.Concat(paths, []string{f.mask, f.kernel, f.operator, f.prior, f.config, f.calibration})
	for _, file := range slices.Sorted(maps.Keys(from)) {
		there, err := os.Stat(filepath.Join(f.out, file))
		if err != nil {
			continue // nothing to overwrite
		}
		for _, path := range read {
			if input, err := os.Stat(path); err == nil && os.SameFile(there, input) {
				return nil, fmt.Errorf("%s would be overwritten: name another --out", path)
			}
		}
	}
	return names, nil
}

// results returns the files that are written for a picture.
func (f *restoreFlags) results(name string) []string {
	ext := pictureFormats[f.format].ext
	files := []string{name + ext, name + ".measurement" + ext, name + ".measurement.npy"}
	if f.npy {
		files = append(files, name+".npy")
	}
	if task, err := measure.FindTask(f.Task); err == nil && (task.Input == "mask" || task.Input == "kernel") {
		files = append(files, name+map[string]string{"mask": ".mask.png", "kernel": ".kernel.npy"}[task.Input])
	}
	return append(files, f.certaintyFiles(name)...)
}
