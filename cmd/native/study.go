package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

type studyFlags struct {
	modelFlags
	specFlags
	metrics metricsFlags

	images, out            string
	parts                  []string
	tasks, tuning, methods []string
	limit, tuned           int
	states, mixtures       int
	reportOnly             bool
	caps, windows          []float64

	settings experiment.Settings // of all parts
}

// studyParts are those of the study, in their order.
var studyParts = []string{"estimate", "why", "signs"}

func studyCommand() *cobra.Command {
	var f studyFlags
	c := &cobra.Command{
		Use:   "study",
		Short: "Ask when the information term helps, with which sign, and why",
		Long: `study runs the protocol of docs/cmi-study.md:

  estimate  the estimate of ∇I against the trace on small measurements of true pictures, level by level:
            bias, variance, the share of the direction in one probe, and whether a step along ∇I raises I
  why       the curvature at the innovation beside ∇I, on mixtures with known scores and on the prior, at
            true states and at those that samplers reach
  signs     without the term and with the choices paper, fidelity and spread, whose limit and window are
            tuned for each method on the eight built-in faces, on the pictures of --images, which must not
            be of them: six measures, paired tests, corrected for their number

The results go to --out: NAME.md has the tables, NAME.jsonl the lines that they are made from, and the
folders tuning and report are experiments as those of eval. Ctrl-C stops within one step; the same command
goes on where it stopped.`,
		Example: `  cmi-native study --images faces --out study               # the whole protocol: hours
  cmi-native study --images faces --part estimate,why --out study
  cmi-native study --images faces --part signs --limit 16 --tasks sr4,box --steps 20 --out study`,
		Annotations: onStop("what is finished is kept, the same command goes on from there"),
		Args:        arguments(0, 0),
		RunE:        func(c *cobra.Command, _ []string) error { return study(c, &f) },
	}
	f.modelFlags.add(c)
	f.addFallback(c)
	f.specFlags.add(c, 50)
	fl := c.Flags()
	fl.StringVar(&f.images, "images", "", "`DIR` of the report's pictures")
	fl.IntVar(&f.limit, "limit", 64, "take only this many pictures, the first")
	fl.StringSliceVar(&f.parts, "part", studyParts, "parts of the study")
	fl.StringSliceVar(&f.tasks, "tasks", experiment.Tasks, "tasks of the report")
	fl.StringSliceVar(&f.tuning, "tuning-tasks", experiment.Tasks, "tasks of the tuning")
	fl.IntVar(&f.tuned, "tuning-faces", 8, "built-in faces of the tuning, 2 to 8")
	fl.StringSliceVar(&f.methods, "methods", []string{"dps", "pigdm", "mmps", "pathwise-mean"}, "methods, of "+strings.Join(job.Methods(), ", "))
	fl.Float64SliceVar(&f.caps, "caps", []float64{0.25, 0.5, 1}, "limits of the term that are tried, in multiples of the data guidance")
	fl.Float64SliceVar(&f.windows, "windows", []float64{0.03, 0.1, 0.3}, "lowest alpha-bar of the windows that are tried")
	fl.IntVar(&f.states, "states", 4, "pictures of estimate, and of why on the prior")
	fl.IntVar(&f.mixtures, "mixtures", 32, "mixtures of why")
	fl.BoolVar(&f.reportOnly, "report-only", false, "restore nothing: make the tables of signs of the report's pictures that are finished")
	fl.StringVar(&f.out, "out", "out/study", "`DIR` for the results")
	return c
}

func (f *studyFlags) check() error {
	for _, part := range f.parts {
		if !slices.Contains(studyParts, part) {
			return fmt.Errorf("--part is %q, known are %s", part, strings.Join(studyParts, ", "))
		}
	}
	for _, task := range slices.Concat(f.tasks, f.tuning) {
		if known := gridTasks(); !slices.Contains(known, task) {
			return fmt.Errorf("unknown task %q: known are %s", task, strings.Join(known, ", "))
		}
	}
	for _, method := range f.methods {
		if !slices.Contains(job.Methods(), method) {
			return fmt.Errorf("unknown method %q: known are %s", method, strings.Join(job.Methods(), ", "))
		}
	}
	for _, v := range slices.Concat(f.caps, f.windows) {
		if !(v > 0 && v < 1e3) {
			return fmt.Errorf("--caps %v, --windows %v: positive numbers are wanted", f.caps, f.windows)
		}
	}
	switch {
	case f.images == "":
		return errors.New("--images DIR is wanted: the pictures that the study reports on, none of which the tuning has seen")
	case len(f.caps) == 0 || len(f.windows) == 0 || len(f.parts) == 0:
		return errors.New("--caps, --windows, --part: at least one of each is wanted")
	case f.limit < 2:
		return fmt.Errorf("--limit is %d, at least 2 pictures are wanted", f.limit)
	case f.tuned < 2 || f.tuned > 8:
		return fmt.Errorf("--tuning-faces is %d, 2 to 8 are possible", f.tuned)
	case f.mixtures < 2 || f.mixtures > mostDrawn:
		return fmt.Errorf("--mixtures is %d, 2 to %d are possible", f.mixtures, mostDrawn)
	case f.states < 2 || f.states > f.limit:
		return fmt.Errorf("--states is %d, 2 to --limit %d are possible", f.states, f.limit)
	}
	return nil
}

func study(c *cobra.Command, f *studyFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	reported, err := evalPictures(f.images, 0)
	if err != nil {
		return err
	}
	reported.names = reported.names[:min(f.limit, len(reported.names))]
	if f.states > len(reported.names) {
		return fmt.Errorf("--states is %d, --images has %d pictures", f.states, len(reported.names))
	}
	place, err := f.place(c.Context())
	if err != nil {
		return err
	}
	defer place.Close()
	channels, h, w := place.Prior().Image()
	if channels != 3 || h != w {
		return fmt.Errorf("the prior's images are %d×%d with %d channels: the study wants square ones with 3", w, h, channels)
	}
	if err := reported.fit(c.Context(), h, "", experiment.Part{}); err != nil {
		return err
	}
	tuning, err := evalPictures("", f.tuned)
	if err != nil {
		return err
	}
	if err := tuning.fit(c.Context(), h, "", experiment.Part{}); err != nil {
		return err
	}
	if err := disjoint(reported); err != nil {
		return err
	}
	if err := place.Do(c.Context(), func(m prior.Model) error {
		for _, method := range f.methods {
			s := f.Spec
			s.Method, s.CMI.On = method, true
			if _, err := s.Options(m); err != nil {
				return err
			}
		}
		f.Schedule, _, err = f.NoiseSchedule(m)
		return err
	}); err != nil {
		return err
	}
	if err := prepareFolder(f.out); err != nil {
		return err
	}
	if f.reportOnly {
		f.parts = []string{"signs"}
	} else {
		unlock, err := experiment.Lock(filepath.Join(f.out, ".lock"))
		if err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		defer unlock()
	}
	f.settings = experiment.Settings{"prior": f.prior, "steps": fmt.Sprint(f.Steps), "seed": fmt.Sprint(f.Seed), "sigma-y": fmt.Sprint(f.SigmaY),
		"schedule": f.Schedule, "ddim": optionalNumber{&f.DDIM}.String(), "pictures": reported.hash}
	if builtIn[f.prior] == nil {
		if f.settings["prior"], err = hashPrior(f.prior); err != nil {
			return err
		}
	}
	for _, part := range studyParts {
		if !slices.Contains(f.parts, part) {
			continue
		}
		run := map[string]func(*cobra.Command, *studyFlags, *studyRun) (string, error){"estimate": studyEstimate, "why": studyWhy, "signs": studySigns}[part]
		text, err := run(c, f, &studyRun{place, reported, tuning})
		if err != nil {
			return failed(err)
		}
		if err := os.WriteFile(filepath.Join(f.out, part+".md"), []byte(text), 0o666); err != nil {
			return failed(err)
		}
		fmt.Fprintln(c.OutOrStdout(), text)
	}
	return nil
}

// disjoint refuses pictures that are among the built-in faces, which the tuning sees.
func disjoint(reported *trueImages) error {
	all, err := faces.Load(8)
	if err != nil {
		return err
	}
	for i, name := range reported.names {
		p, err := reported.open(i)
		if err != nil {
			return err
		}
		for _, seen := range all {
			if seen, err = picture.Fit(seen, reported.side, reported.side, picture.Crop); err != nil {
				return err
			}
			if slices.Equal(p.Pix, seen.Pix) {
				return fmt.Errorf("%s of --images is the built-in face %s, which the tuning sees: take it out", name, seen.Name)
			}
		}
	}
	return nil
}

// lines is a file of JSON lines that a stopped run goes on with.
type lines[T any] struct {
	file *os.File
	done map[string]T // by key
}

// openLines reads the lines of a file, whose first one has the settings that they were made with.
func openLines[T any](path string, settings experiment.Settings) (*lines[T], error) {
	head, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	l := &lines[T]{done: map[string]T{}}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1] // a killed run leaves a part of a line
	in := bufio.NewScanner(bytes.NewReader(whole))
	in.Buffer(nil, 1<<24)
	for number := 1; in.Scan(); number++ {
		if number == 1 {
			if !bytes.Equal(in.Bytes(), head) {
				return nil, fmt.Errorf("%s holds results of other settings: %s there, %s here; take the same or another --out", path, in.Text(), head)
			}
			continue
		}
		var one struct {
			Key string `json:"key"`
			Row T      `json:"row"`
		}
		if err := json.Unmarshal(in.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w: remove the line, or the file", path, number, err)
		}
		l.done[one.Key] = one.Row
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if l.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666); err != nil {
		return nil, err
	}
	err = l.file.Truncate(int64(len(whole)))
	if err == nil {
		_, err = l.file.Seek(int64(len(whole)), 0)
	}
	if err == nil && len(whole) == 0 {
		_, err = l.file.Write(append(head, '\n'))
	}
	if err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}

// add appends a row.
func (l *lines[T]) add(key string, row T) error {
	text, err := json.Marshal(struct {
		Key string `json:"key"`
		Row T      `json:"row"`
	}{key, row})
	if err != nil {
		return err
	}
	l.done[key] = row
	_, err = l.file.Write(append(text, '\n'))
	return err
}
