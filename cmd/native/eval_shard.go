package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
)

// shardFlags are those of a process that does a part of an experiment.
type shardFlags struct {
	of         string // "I/N"; empty: the whole experiment by itself
	lease      time.Duration
	checkpoint int
	metrics    string // address
	status     bool

	part experiment.Part
}

func (f *shardFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.of, "shard", "", "do part `I/N` of the experiment, 1 ≤ I ≤ N (0 is N), into --out, a folder that other shards may share; cmi-native merge makes the tables")
	fl.DurationVar(&f.lease, "lease", time.Minute, "of --shard: a job whose process gave no sign of life for so long is taken over")
	fl.IntVar(&f.checkpoint, "checkpoint", 50, "of --shard: steps between two saved states of a picture; 0 saves states only when stopped")
	fl.StringVar(&f.metrics, "metrics", "", "of --shard: answer /metrics (Prometheus) and /debug/pprof/ at `ADDRESS`, such as localhost:9100")
	fl.BoolVar(&f.status, "status", false, "restore nothing: say how far the shards in --out, and in further folders that are named, are")
}

// check reads the part and refuses what does not go with one.
func (f *shardFlags) check(c *cobra.Command, e *evalFlags) error {
	if err := effective(c, []need{{f.of != "", "--shard", []string{"lease", "checkpoint", "metrics"}}}); err != nil {
		return err
	}
	if f.of == "" {
		return nil
	}
	var rest string
	if n, _ := fmt.Sscanf(f.of, "%d/%d%s", &f.part.I, &f.part.N, &rest); n != 2 {
		return fmt.Errorf("--shard is %q, I/N is wanted, such as 3/8", f.of)
	}
	if f.part.I == 0 {
		f.part.I = f.part.N // for schedulers that count from 0
	}
	if err := f.part.Validate(); err != nil {
		return fmt.Errorf("--shard: %w", err)
	}
	if f.lease < 100*time.Millisecond {
		return fmt.Errorf("--lease is %v, at least 100ms is wanted; a minute suits most file systems", f.lease)
	}
	if f.metrics != "" {
		if err := local(f.metrics); err != nil {
			return err
		}
	}
	if f.checkpoint < 0 {
		return fmt.Errorf("--checkpoint is %d, a number of steps is wanted, or 0", f.checkpoint)
	}
	switch {
	case e.reportOnly:
		return errors.New("--report-only makes the tables of a whole experiment: of shards, cmi-native merge does")
	case e.estimate:
		return errors.New("--estimate is for the whole experiment: leave --shard out")
	case e.fallback != "":
		return fmt.Errorf("--fallback %s would mix the results of two devices, which merge refuses: leave it out with --shard", e.fallback)
	}
	return nil
}

// run does the part, and returns when all of it is finished.
func (f *shardFlags) run(c *cobra.Command, e *evalFlags, r experiment.Runner, grid experiment.Grid, planned map[experiment.Cell]sdk.Plan, settings experiment.Settings) error {
	info := r.Place.Prior().Device().Info()
	made, err := newManifest(c, &e.modelFlags, info)
	if err != nil {
		return failed(err)
	}
	arithmetic := info.Arithmetic
	if arithmetic == "" {
		arithmetic = info.Description
	}
	folder, err := experiment.OpenShards(e.out, experiment.Run{
		Version: made.Version, Model: made.Prior, Device: info.Name, Arithmetic: arithmetic, Settings: settings, Grid: grid,
		Seed: e.Seed, Preset: e.experiment.Name, Facts: e.facts(),
	}, f.lease)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	note, err := json.Marshal(made)
	if err == nil {
		err = folder.Note(note)
	}
	if err != nil {
		return failed(err)
	}
	progress, err := folder.Progress(f.part)
	if err != nil {
		return failed(err)
	}
	passes, number, all := 0, 0, 0
	for cell, n := range progress {
		passes += n.Left * planned[cell].Passes()
		number += n.Done
		all += n.Done + n.Left
	}
	if all > 0 {
		whole := grid.Disk(e.experiment.Side, e.Steps).Bytes
		if wanted, free := whole/int64(grid.Len())*int64(all-number), diskFree(e.out); free > 0 && wanted > free {
			fmt.Fprintf(c.ErrOrStderr(), "cmi-native: what is left of this part may take up to %s in %s, where %s are free\n", humanize.IBytes(uint64(wanted)), e.out, humanize.IBytes(uint64(free)))
		}
	}
	count := &counters{part: f.part.String(), jobs: int64(all), done: int64(number)}
	if f.metrics != "" {
		where, err := count.serve(c.Context(), f.metrics)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "cmi-native: metrics at http://%s/metrics\n", where)
	}
	bar := newProgress(c.ErrOrStderr(), passes)
	var lock sync.Mutex // several GPUs report
	steps, told := map[experiment.Job]func(int){}, map[experiment.Job]int{}
	log, _ := c.ErrOrStderr().(*messages)
	r.Checkpoint = f.checkpoint
	r.OnStep = func(j experiment.Job, p sdk.Progress) {
		lock.Lock()
		step := steps[j]
		count.passes.Add(int64(p.Passes - told[j]))
		told[j] = p.Passes
		lock.Unlock()
		if step != nil {
			step(p.Passes)
		}
	}
	r.OnEvent = func(e experiment.Event) {
		lock.Lock()
		defer lock.Unlock()
		switch e.Kind {
		case "begin", "resume":
			if e.Kind == "begin" {
				count.begun.Add(1)
			} else {
				count.resumed.Add(1)
				told[e.Job] = e.Passes
			}
			number++
			steps[e.Job] = bar.run(fmt.Sprintf("%d/%d %v", number, all, e.Job))
		case "finish":
			count.finished.Add(1)
			delete(steps, e.Job)
			delete(told, e.Job)
		case "checkpoint":
			count.checkpoints.Add(1)
		case "damaged":
			count.damaged.Add(1)
			fmt.Fprintf(c.ErrOrStderr(), "cmi-native: %v begins anew: %s\n", e.Job, e.Text)
		}
		if log != nil {
			log.event(e)
		}
	}
	if err := r.RunShard(c.Context(), folder, f.part); err != nil {
		return failed(err)
	}
	bar.finish()
	_, err = fmt.Fprintf(c.OutOrStdout(), "part %v is finished: %d results in %s\n", f.part, all, e.out)
	return err
}

// evalStatus says how far shards are.
func evalStatus(c *cobra.Command, dirs []string) error {
	s, err := experiment.ReadStatus(c.Context(), dirs)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	waiting := s.All - s.Done - s.Running - s.Stale - s.Stopped
	fmt.Fprintf(out, "done     %d of %d (%d %%)\nrunning  %d, on %d process(es)\nstale    %d: no sign of life within a lease; another process takes them over\nstopped  %d: given up by their process\nwaiting  %d\n",
		s.Done, s.All, 100*s.Done/s.All, s.Running, len(s.Owners), s.Stale, s.Stopped, waiting)
	for _, owner := range keys(s.Owners) {
		fmt.Fprintf(out, "  %s: %d\n", owner, s.Owners[owner])
	}
	switch {
	case s.Done == s.All:
		fmt.Fprintln(out, "left     nothing: cmi-native merge makes the tables")
	case s.Timed == 0:
		fmt.Fprintln(out, "left     unknown: nothing is finished yet")
	default:
		fmt.Fprintf(out, "left     %v of work, by the times of %d finished jobs", (time.Duration(s.Seconds * float64(time.Second))).Round(time.Second), s.Timed)
		if s.Running > 0 {
			fmt.Fprintf(out, "; %v with what runs now", s.Left.Round(time.Second))
		}
		fmt.Fprintln(out)
	}
	return nil
}

// event writes what befell a job into a log of JSON.
func (m *messages) event(e experiment.Event) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.json {
		_ = m.entry(line{Event: e.Kind, Job: e.Job.String(), Step: e.Step, Message: e.Text}) // as a bar that can't be drawn
	}
}

type mergeFlags struct {
	metrics metricsFlags
	out     string
}

func mergeCommand() *cobra.Command {
	var f mergeFlags
	c := &cobra.Command{
		Use:   "merge DIR…",
		Short: "Make one folder and its tables out of the shards of an experiment",
		Long: `merge makes out of the folders of eval --shard the one folder that eval would have made on one machine,
to the byte but for timings.jsonl, with its tables and report. It refuses, and says which: results that
are missing, two results for one job that differ, folders of different versions, models, devices,
settings or pictures, and files that are damaged where no other folder has them whole.

--out is there as a whole or not at all. Its pictures are further names of the shards' files where the
file system allows that, so that they take no space twice; the shards' folders may be deleted afterwards.`,
		Example: `  cmi-native merge shards --out table1
  cmi-native merge node1 node2 node3 --out table1 --inception pt_inception.pth`,
		Annotations: onStop("nothing was made"),
		Args:        arguments(1, manyArguments),
		RunE:        func(c *cobra.Command, dirs []string) error { return merge(c, dirs, &f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.out, "out", "out/eval", "`DIR` for the results")
	fl.StringVar(&f.metrics.inception, "inception", "", "weights `FILE` of the FID's Inception v3; without, an FID-like distance")
	fl.StringVar(&f.metrics.reference, "statistics", "", "npz `FILE` with mu and sigma: the FID is against it instead of the true pictures")
	return c
}

func merge(c *cobra.Command, dirs []string, f *mergeFlags) (err error) {
	var reference *fid.Statistics
	if f.metrics.reference != "" {
		if reference, err = fid.OpenStatistics(f.metrics.reference); err != nil {
			return fmt.Errorf("--statistics: %w", err)
		}
	}
	judges, closeJudges, err := f.metrics.loadOnCPU(c.Context(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(closeJudges())) }()
	if parent := filepath.Dir(filepath.Clean(f.out)); parent != "." {
		if err := os.MkdirAll(parent, 0o777); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	var bar *progress
	var step func(int)
	merged, err := experiment.Merge(c.Context(), dirs, f.out, func(done, all int) {
		if bar == nil {
			bar = newProgress(c.ErrOrStderr(), all)
			step = bar.run("merging")
		}
		step(done)
	})
	if err != nil {
		return failed(err)
	}
	if bar != nil {
		bar.finish()
	}
	if n := len(merged.Damaged); n > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "cmi-native: %d result(s) are damaged in one folder and whole in another, which was taken; the first: %s\n", n, merged.Damaged[0])
	}
	preset, err := experiment.FindPreset(merged.Run.Preset)
	if err != nil {
		return failed(err)
	}
	return evalTables{preset, merged.Run.Facts, merged.Run.Seed, f.out, judges, reference}.write(c, merged.Folder)
}
