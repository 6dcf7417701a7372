package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

type evalFlags struct {
	modelFlags
	specFlags
	metrics metricsFlags

	preset, images, out   string
	tasks, methods, cmi   []string
	samples, limit, batch int
	nodes                 int
	estimate, reportOnly  bool
	shard                 shardFlags

	experiment experiment.Preset // of that name
	arms       []experiment.Term // without and with the information term
}

func evalCommand() *cobra.Command {
	var f evalFlags
	c := &cobra.Command{
		Use:   "eval",
		Short: "Run the paper's experiment: methods × tasks, without and with the information term",
		Long: `eval restores every picture by every method, without and with the information term, for every task,
from the same measurements and random numbers, and makes the tables of arXiv 2501.02880 of it, with
paired differences and their 95 % bootstrap intervals. Flags that are left out take the preset's
values:

  faces64         64×64 faces, the prior that is built in, 100 steps
  photos64        64×64 photographs, the other one that is built in, 100 steps, needs --images
  paper-ffhq      256×256, 1000 steps, needs --prior ffhq_10m.pt and --images
  paper-imagenet  256×256, 1000 steps, needs --prior 256x256_diffusion_uncond.pt and --images

Nothing is downloaded. The results go to --out: report.html, table.md, table.csv, results.jsonl (a
line for each picture and cell, with the residual and the information step by step), timings.jsonl,
runs.jsonl (the version, the device and the flags of each run) and images/TASK/METHOD[+cmi[-CHOICE]]/NAME.png.

Ctrl-C stops within one step; the same command goes on where it stopped, and ends with the same
bytes as a run that was not stopped. Pictures of another size are cut to the centre square and
scaled. Pictures are the outermost loop, so --report-only makes the tables of what is finished. Results
and pictures that were damaged since are made again; results.jsonl.damaged keeps lines that can't be
read.

With --shard I/N many processes, on one machine or on a cluster with a common file system, do the work
together and may be killed at any moment; cmi-native merge then makes the same folder as one machine
would. See docs/cluster.md.`,
		Example: `  cmi-native eval --out results                          # faces64: the whole grid on 8 faces
  cmi-native eval --tasks sr4,box --methods dps,pigdm --steps 50 --samples 2 --out results
  cmi-native eval --cmi off,paper,fidelity,spread --tasks box --methods pigdm --out choices
  cmi-native eval --preset paper-ffhq --estimate           # how long it would take here
  cmi-native eval --preset paper-ffhq --prior ffhq_10m.pt --images ffhq256 --lpips vgg16.pth --lpips-net vgg \
    --inception pt_inception.pth --out table1`,
		Annotations: onStop("finished results are kept, the same command goes on from there"),
		Args:        arguments(0, manyArguments),
		RunE: func(c *cobra.Command, args []string) error {
			if f.shard.status {
				return evalStatus(c, append([]string{f.out}, args...))
			}
			if err := arguments(0, 0)(c, args); err != nil {
				return err
			}
			return eval(c, &f)
		},
	}
	f.modelFlags.add(c)
	f.addFallback(c)
	f.addGPUs(c)
	f.specFlags.add(c, 0)
	f.addGuidance(c)
	fl := c.Flags()
	fl.Lookup("steps").Usage = "reverse steps; the preset's if left out"
	fl.Lookup("steps").DefValue = "0" // the preset's
	fl.StringVar(&f.preset, "preset", "faces64", "experiment: "+strings.Join(experiment.PresetNames(), ", "))
	fl.StringVar(&f.images, "images", "", "`DIR` of pictures; for faces64 eight faces are built in")
	fl.IntVar(&f.limit, "limit", 0, "take only this many pictures, the first; 0 takes all")
	fl.StringSliceVar(&f.tasks, "tasks", []string{"all"}, "tasks: all (the paper's: "+strings.Join(experiment.Tasks, ", ")+"), or a list")
	fl.StringSliceVar(&f.methods, "methods", experiment.Methods, "methods, of "+strings.Join(job.Methods(), ", "))
	fl.StringSliceVar(&f.cmi, "cmi", []string{"both"}, "arms: off (without the information term), on (with it, as restore --cmi takes it), both, or a list of off and the choices "+cmi.ChoiceNames())
	fl.IntVar(&f.samples, "samples", 1, "samples for each measurement; 2 give the exchangeability ratio")
	fl.IntVar(&f.batch, "batch", 1, "pictures sampled together, faster on a GPU; results do not depend on it; a run stopped in a batch samples its pictures after the first again")
	f.metrics.addLPIPS(c)
	fl.StringVar(&f.metrics.inception, "inception", "", "weights `FILE` of the FID's Inception v3; without, an FID-like distance")
	fl.StringVar(&f.metrics.reference, "statistics", "", "npz `FILE` with mu and sigma: the FID is against it instead of the true pictures")
	fl.StringVar(&f.out, "out", "out/eval", "`DIR` for the results")
	fl.BoolVar(&f.estimate, "estimate", false, "time a few steps and say how long the experiment would take; needs no pictures and no weights")
	f.shard.add(fl)
	fl.IntVar(&f.nodes, "nodes", 1, "of --estimate: machines like this one that share the work as shards")
	fl.BoolVar(&f.reportOnly, "report-only", false, "restore nothing: make the tables and the report of what is finished")
	return c
}

// check completes the flags by the preset, before any file is opened.
func (f *evalFlags) check(c *cobra.Command) (err error) {
	if f.experiment, err = experiment.FindPreset(f.preset); err != nil {
		return err
	}
	p, given := f.experiment, c.Flags().Changed
	if !given("steps") {
		f.Steps = p.Steps
	}
	if !given("sigma-y") {
		f.SigmaY = p.SigmaY
	}
	if slices.Equal(f.tasks, []string{"all"}) {
		f.tasks = experiment.Tasks
	}
	for _, task := range f.tasks {
		if known := gridTasks(); !slices.Contains(known, task) {
			return fmt.Errorf("unknown task %q: known are all, %s", task, strings.Join(known, ", "))
		}
	}
	for _, method := range f.methods {
		if !slices.Contains(job.Methods(), method) {
			return fmt.Errorf("unknown method %q: known are %s", method, strings.Join(job.Methods(), ", "))
		}
	}
	if err := f.chooseArms(c); err != nil {
		return err
	}
	if err := effective(c, f.needs(!slices.Equal(f.arms, []experiment.Term{experiment.Without}), f.methods...)); err != nil {
		return err
	}
	if f.limit < 0 {
		return fmt.Errorf("--limit is %d, a number of pictures is wanted, or 0 for all", f.limit)
	}
	if err := effective(c, []need{{f.estimate, "--estimate", []string{"nodes"}}}); err != nil {
		return err
	}
	if f.nodes < 1 || f.nodes > 1e6 {
		return fmt.Errorf("--nodes is %d, 1 to 1000000 are wanted", f.nodes)
	}
	if f.batch < 1 {
		return fmt.Errorf("--batch is %d, at least 1 is wanted", f.batch)
	}
	if f.Scale != 0 && len(f.methods) > 1 {
		return fmt.Errorf("--scale %v means another thing in each method: name one with --methods", f.Scale)
	}
	if err := f.metrics.checkLPIPS(c); err != nil {
		return err
	}
	if err := f.shard.check(c, f); err != nil {
		return err
	}
	if p.Embedded != "" && !given("prior") {
		f.prior = p.Embedded
	}
	switch {
	case f.estimate:
	case p.Embedded == "" && !given("prior"):
		return fmt.Errorf("the preset %s needs --prior FILE, the checkpoint %s of the paper's experiment; nothing is downloaded", p.Name, p.Prior)
	case !p.Pictures && f.images == "":
		return fmt.Errorf("the preset %s needs --images DIR, pictures of %d×%d", p.Name, p.Side, p.Side)
	}
	return nil
}

// chooseArms reads --cmi.
func (f *evalFlags) chooseArms(c *cobra.Command) error {
	f.arms = nil
	for _, name := range f.cmi {
		switch choice := cmi.Choice(name); {
		case name == "both":
			f.arms = append(f.arms, experiment.Without, experiment.With)
		case name == "on":
			f.arms = append(f.arms, experiment.With)
		case choice == cmi.Off:
			f.arms = append(f.arms, experiment.Without)
		case slices.Contains(cmi.Choices, choice):
			f.arms = append(f.arms, experiment.Term(name))
		default:
			return fmt.Errorf("--cmi is %q: on, off, both, or a list of off, %s are wanted", name, cmi.ChoiceNames())
		}
	}
	for _, flag := range []string{"eta", "trust-guidance"} {
		if !c.Flags().Changed(flag) {
			continue
		}
		f.CMI.Choice = cmi.Custom
		for _, arm := range f.arms {
			if arm != experiment.Without && arm != experiment.With {
				return fmt.Errorf("--%s and --cmi=%s: the choice sets it; leave out one of them", flag, arm)
			}
		}
	}
	return nil
}

// gridTasks returns the tasks of an experiment: those that need no file. A nonlinear one is not
// of the paper's.
func gridTasks() []string {
	return slices.DeleteFunc(measure.TaskNames(), func(name string) bool {
		task, err := measure.FindTask(name)
		return err != nil || task.Input != "" && task.Draw == nil || name == "phase"
	})
}

func eval(c *cobra.Command, f *evalFlags) (err error) {
	if err := f.check(c); err != nil {
		return err
	}
	for _, caution := range f.cautions() {
		fmt.Fprintln(c.ErrOrStderr(), "note: "+caution)
	}
	if f.estimate {
		return evalEstimate(c, f)
	}
	pictures, err := evalPictures(f.images, f.limit)
	if err != nil {
		return err
	}
	var reference *fid.Statistics
	if f.metrics.reference != "" {
		if reference, err = fid.OpenStatistics(f.metrics.reference); err != nil {
			return fmt.Errorf("--statistics: %w", err)
		}
	}
	places, err := f.places(c.Context())
	if err != nil {
		return err
	}
	defer closePlaces(places)
	m := places[0].Prior()
	channels, h, w := m.Image()
	if channels != 3 || h != f.experiment.Side || w != f.experiment.Side {
		return fmt.Errorf("the prior's images are %d×%d with %d channels, the preset %s is for %d×%d with 3", w, h, channels, f.preset, f.experiment.Side, f.experiment.Side)
	}
	shared := ""
	if f.shard.of != "" {
		shared = filepath.Join(f.out, "pictures")
	}
	if err := pictures.fit(c.Context(), h, shared, f.shard.part); err != nil {
		return err
	}
	grid := experiment.Grid{Tasks: f.tasks, Methods: f.methods, CMI: f.arms, Names: pictures.names, Samples: f.samples}
	if err := grid.Validate(); err != nil {
		return err
	}
	var planned map[experiment.Cell]sdk.Plan
	if err := places[0].Do(c.Context(), func(m prior.Model) (err error) {
		planned, err = f.plans(m, grid)
		for cell := range planned {
			if err == nil && !f.reportOnly {
				err = planned[cell].Fits()
			}
		}
		return err
	}); err != nil {
		return err
	}
	m = places[0].Prior()
	if f.Schedule, _, err = f.Spec.NoiseSchedule(m); err != nil {
		return err
	}
	judges, closeJudges, err := f.metrics.loadOnCPU(c.Context(), m.Device())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(closeJudges())) }()
	settings, err := f.settings(c, pictures)
	if err != nil {
		return err
	}
	if f.shard.of != "" {
		r := experiment.Runner{Place: places[0], More: places[1:], Batch: f.batch, Truth: pictures.open, Spec: f.Spec, Perceptual: judges.perceptual}
		return f.shard.run(c, f, r, grid, planned, settings)
	}
	open := experiment.Open
	if f.reportOnly {
		open = experiment.OpenFinished
	}
	folder, err := open(f.out, settings, grid)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() { err = errors.Join(err, failed(folder.Close())) }()
	if damaged := folder.Damaged(); len(damaged) > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "cmi-native: %d finished result(s) are damaged and are computed again; the first: %s\n", len(damaged), damaged[0])
	}
	if damaged := folder.DamagedInputs(); len(damaged) > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "cmi-native: %d truth(s) or measurement(s) are damaged and are written again; the first: %s\n", len(damaged), damaged[0])
	}

	if !f.reportOnly {
		made, err := newManifest(c, &f.modelFlags, m.Device().Info())
		if err == nil && folder.Done() < grid.Len() {
			err = noteRun(filepath.Join(f.out, "runs.jsonl"), made)
		}
		if err != nil {
			return failed(err)
		}
		r := experiment.Runner{Place: places[0], More: places[1:], Batch: f.batch, Truth: pictures.open, Spec: f.Spec, Perceptual: judges.perceptual}
		if err := runGrid(c, r, folder, grid, planned); err != nil {
			return failed(err)
		}
	}
	return evalTables{f.experiment, f.facts(), f.Seed, f.out, judges, reference}.write(c, folder)
}

// plans returns those of a batch of each cell.
func (f *evalFlags) plans(m prior.Model, g experiment.Grid) (map[experiment.Cell]sdk.Plan, error) {
	plans := map[experiment.Cell]sdk.Plan{}
	for _, cell := range g.Cells() {
		plan, err := cell.Spec(f.Spec).Plan(m, min(f.batch, g.Len()))
		if err != nil {
			return nil, err
		}
		plans[cell] = plan
	}
	return plans, nil
}

// runGrid runs what is left with one progress bar, in network passes.
func runGrid(c *cobra.Command, r experiment.Runner, folder *experiment.Folder, g experiment.Grid, planned map[experiment.Cell]sdk.Plan) error {
	left := 0
	for k := folder.Done(); k < g.Len(); k++ {
		left += planned[g.Job(k).Cell].Passes()
	}
	if left == 0 {
		return r.Run(c.Context(), folder) // writes damaged truths and measurements again
	}
	bar := newProgress(c.ErrOrStderr(), left)
	number := folder.Done()
	var lock sync.Mutex // several GPUs report
	steps := map[experiment.Job]func(int){}
	r.OnStep = func(j experiment.Job, p sdk.Progress) {
		lock.Lock()
		defer lock.Unlock()
		step := steps[j]
		if step == nil {
			number++
			step = bar.run(fmt.Sprintf("%d/%d %s %s %s", number, g.Len(), j.Name, j.Task, j.Arm()))
			steps[j] = step
		}
		step(p.Passes)
	}
	if err := r.Run(c.Context(), folder); err != nil {
		return err
	}
	bar.finish()
	return nil
}

// evalTables are what is made of an experiment's results.
type evalTables struct {
	preset    experiment.Preset
	facts     [][2]string
	seed      uint64
	dir       string
	judges    *comparer
	reference *fid.Statistics // of the true pictures, where they are not the folder's
}

// write makes the tables and the report, and says where they are.
func (t evalTables) write(c *cobra.Command, folder *experiment.Folder) error {
	s, err := folder.Summarise(t.seed)
	if err != nil {
		return failed(err)
	}
	bar := newProgress(c.ErrOrStderr(), s.FrechetPictures())
	onPicture := bar.run(t.judges.frechet)
	read := 0
	if err := folder.Frechet(c.Context(), s, t.judges.frechet, t.judges.features, t.reference, func() { read++; onPicture(read) }); err != nil {
		return failed(err)
	}
	bar.finish()
	if err := (experiment.Report{Preset: t.preset, Facts: t.facts, Shown: 4}).Write(folder, s); err != nil {
		return failed(err)
	}
	out := c.OutOrStdout()
	fmt.Fprint(out, s.Text(t.preset))
	dir, err := filepath.Abs(t.dir)
	if err != nil {
		dir = t.dir
	}
	_, err = fmt.Fprintf(out, "\ntables: %s\nreport: %s\n", filepath.Join(dir, "table.md"), filepath.Join(dir, "report.html"))
	return err
}

// cautions says which arms were measured to be worse than no term, each in one sentence.
func (f *evalFlags) cautions() (said []string) {
	for _, arm := range f.arms {
		for _, method := range f.methods {
			for _, task := range f.tasks {
				caution := experiment.Cell{Task: task, Method: method, CMI: arm}.Spec(f.Spec).CMI.Caution(method, task)
				if caution != "" && !slices.Contains(said, caution) {
					said = append(said, caution)
				}
			}
		}
	}
	return said
}

// choices says what the information term is in each arm.
func (f *evalFlags) choices() (said []string) {
	for _, arm := range f.arms {
		for _, method := range f.methods {
			term, err := experiment.Cell{Method: method, CMI: arm}.Spec(f.Spec).CMI.For(method)
			if err != nil || !term.On {
				continue // the plans have been made with it: it is known
			}
			text := fmt.Sprintf("%s, η = %g", term.Choice, term.Eta)
			if term.TrustGuidance > 0 {
				text += fmt.Sprintf(", at most %g of the data guidance", term.TrustGuidance)
			}
			if arm == experiment.With {
				text = method + ": " + text
			}
			if !slices.Contains(said, text) {
				said = append(said, text)
			}
		}
	}
	if said == nil {
		said = []string{"off"}
	}
	return said
}

// facts returns what the tables say of the run.
func (f *evalFlags) facts() [][2]string {
	sampler := fmt.Sprintf("%d steps, %s schedule, seed %d", f.Steps, f.Schedule, f.Seed)
	if f.Start != 0 {
		sampler += fmt.Sprintf(", from the measurement at training step %d", f.Start)
	}
	if f.DDIM != nil && *f.DDIM >= 0 {
		sampler += fmt.Sprintf(", DDIM η = %g", *f.DDIM)
	} else if f.DDIM != nil {
		sampler += ", DDPM"
	}
	term := fmt.Sprintf("%s; %s weighting, K = %d, %d probe(s), ᾱ %g to %g", strings.Join(f.choices(), "; "), f.CMI.Weighting, f.CMI.Lanczos, f.CMI.Probes, f.CMI.MinAlphaBar, f.CMI.MaxAlphaBar)
	if f.CMI.TrustStd > 0 {
		term += fmt.Sprintf(", at most %g of the step's standard deviation", f.CMI.TrustStd)
	}
	facts := [][2]string{{"prior", filepath.Base(f.prior)}, {"measurement noise", fmt.Sprintf("σ_y = %g, images in [−1, 1]", f.SigmaY)}, {"sampler", sampler}, {"information term", term}}
	if f.samples > 1 {
		facts = append(facts, [2]string{"samples for each measurement", fmt.Sprint(f.samples)})
	}
	return facts
}
