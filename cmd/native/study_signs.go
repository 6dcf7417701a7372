package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// studyRun is what the parts of a study run on.
type studyRun struct {
	place            *sdk.Place
	reported, tuning *trueImages
}

// weights are the information term of an arm: the sign of ∇I, the limit in multiples of the data
// guidance, and the window's lowest ᾱ.
type weights struct{ Sign, Cap, From float64 }

func (w weights) term() experiment.Term {
	return experiment.Term(fmt.Sprintf("%+g-%g-%g", w.Sign, w.Cap, w.From))
}

func (w weights) String() string {
	return fmt.Sprintf("%s∇I, at most %g of the guidance, ᾱ ≥ %g", map[bool]string{true: "+", false: "−"}[w.Sign > 0], w.Cap, w.From)
}

// spec is a cell with those weights.
func (w weights) spec(s job.Spec) job.Spec {
	s.CMI.Choice = cmi.Custom
	s.CMI.Eta, s.CMI.TrustGuidance, s.CMI.MinAlphaBar = w.Sign, w.Cap, w.From
	return s
}

// studySigns tunes the choices for each method on the built-in faces, restores the report's pictures
// with what it found, and compares.
func studySigns(c *cobra.Command, f *studyFlags, r *studyRun) (text string, err error) {
	judges, closeJudges, err := f.metrics.loadOnCPU(c.Context(), r.place.Prior().Device())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, failed(closeJudges())) }()
	var tried []weights
	for _, sign := range []float64{1, -1} {
		for _, limit := range f.caps {
			for _, from := range f.windows {
				tried = append(tried, weights{sign, limit, from})
			}
		}
	}
	byName := map[experiment.Term]weights{}
	tuning := experiment.Grid{Tasks: f.tuning, Methods: f.methods, CMI: []experiment.Term{experiment.Without}, Names: r.tuning.names, Samples: 2}
	for _, w := range tried {
		tuning.CMI = append(tuning.CMI, w.term())
		byName[w.term()] = w
	}
	settings := experiment.Settings{}
	for name, value := range f.settings {
		settings[name] = value
	}
	settings["pictures"] = r.tuning.hash
	settings["arms"] = fmt.Sprint(tuning.CMI)
	settings["tasks"], settings["methods"] = fmt.Sprint(tuning.Tasks), fmt.Sprint(tuning.Methods)
	found, err := f.compare(c, r, judges, r.tuning, tuning, "tuning", settings, func(cell experiment.Cell) (weights, bool) {
		w, ok := byName[cell.CMI]
		return w, ok
	})
	if err != nil {
		return "", err
	}
	chosen := tune(f.methods, tried, found)

	report := experiment.Grid{Tasks: f.tasks, Methods: f.methods, CMI: []experiment.Term{experiment.Without}, Names: r.reported.names, Samples: 2}
	for _, choice := range cmi.Choices {
		report.CMI = append(report.CMI, experiment.Term(choice))
	}
	settings = experiment.Settings{}
	for name, value := range f.settings {
		settings[name] = value
	}
	settings["tasks"], settings["methods"], settings["tuned"] = fmt.Sprint(report.Tasks), fmt.Sprint(report.Methods), fmt.Sprint(chosen)
	all, err := f.compare(c, r, judges, r.reported, report, "report", settings, func(cell experiment.Cell) (weights, bool) {
		w, ok := chosen[cell.Method][cmi.Choice(cell.CMI)]
		return w, ok
	})
	if err != nil {
		return "", err
	}
	return signsText(f, chosen, all), nil
}

// compare fills a folder of a grid and compares its arms.
func (f *studyFlags) compare(c *cobra.Command, r *studyRun, judges *comparer, pictures *trueImages, g experiment.Grid, name string, settings experiment.Settings, term func(experiment.Cell) (weights, bool)) (all []experiment.Comparison, err error) {
	specOf := func(cell experiment.Cell) job.Spec {
		s := cell.Spec(f.Spec)
		if w, ok := term(cell); ok {
			s = w.spec(s)
		}
		return s
	}
	planned := map[experiment.Cell]sdk.Plan{}
	if err := r.place.Do(c.Context(), func(m prior.Model) error {
		for _, cell := range g.Cells() {
			if planned[cell], err = specOf(cell).Plan(m, 1); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	open := experiment.Open
	if f.reportOnly {
		open = experiment.OpenFinished
	}
	folder, err := open(filepath.Join(f.out, name), settings, g)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	passes := 0
	for _, cell := range g.Cells() {
		passes += planned[cell].Passes() * len(g.Names) * g.Samples
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: %d runs, %d passes of the network, %d runs are there\n", name, g.Len(), passes, folder.Done())
	run := experiment.Runner{Place: r.place, Truth: pictures.open, Spec: f.Spec, SpecOf: specOf, Perceptual: judges.perceptual}
	if f.reportOnly && name == "tuning" && folder.Done() < g.Len() {
		return nil, fmt.Errorf("%d of %d runs of the tuning are finished: run the command without --report-only first", folder.Done(), g.Len())
	}
	if !f.reportOnly {
		if err := runGrid(c, run, folder, g, planned); err != nil {
			return nil, err
		}
	}
	if pictures := folder.Pictures(); pictures < len(g.Names) {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %d of %d pictures are finished\n", name, pictures, len(g.Names))
	}
	bar := newProgress(c.ErrOrStderr(), folder.ComparePictures())
	one, read := bar.run(judges.frechet), 0
	all, err = folder.Compare(c.Context(), judges.features, f.Seed, func() { read++; one(read) })
	bar.finish()
	return all, err
}

// tune chooses for each method the weights of each choice: of −∇I and of +∇I those with the least
// perceptual distance, as the mean over the tasks of its logarithm; for the spread, of the other weights
// of +∇I those whose exchangeability ratios are nearest to 1, as the mean of |log|.
func tune(methods []string, tried []weights, found []experiment.Comparison) map[string]map[cmi.Choice]weights {
	chosen := map[string]map[cmi.Choice]weights{}
	for _, method := range methods {
		score := func(w weights, of func(experiment.Comparison) float64) float64 {
			sum := 0.0
			for _, one := range found {
				if one.Method == method && one.CMI == w.term() {
					sum += of(one)
				}
			}
			return sum
		}
		best := func(sign float64, other *weights, of func(experiment.Comparison) float64) (w weights) {
			least := math.Inf(1)
			for _, one := range tried {
				if one.Sign != sign || other != nil && one == *other {
					continue
				}
				if s := score(one, of); s < least {
					least, w = s, one
				}
			}
			return w
		}
		perceptual := func(one experiment.Comparison) float64 {
			if one.Measure != 2 {
				return 0
			}
			return math.Log(one.With)
		}
		paper := best(1, nil, perceptual)
		other := &paper
		if len(tried) < 4 { // there is one of each sign
			other = nil
		}
		chosen[method] = map[cmi.Choice]weights{cmi.Paper: paper, cmi.Fidelity: best(-1, nil, perceptual), cmi.Spread: best(1, other, func(one experiment.Comparison) float64 {
			if one.Measure < 4 {
				return 0
			}
			return math.Abs(math.Log(one.With))
		})}
	}
	return chosen
}

// signsText writes the tables.
func signsText(f *studyFlags, chosen map[string]map[cmi.Choice]weights, all []experiment.Comparison) string {
	var out strings.Builder
	out.WriteString("## Tuned on the built-in faces\n\n| method | paper | fidelity | spread |\n|---|---|---|---|\n")
	for _, method := range f.methods {
		w := chosen[method]
		fmt.Fprintf(&out, "| `%s` | %v | %v | %v |\n", method, w[cmi.Paper], w[cmi.Fidelity], w[cmi.Spread])
	}
	out.WriteString("\n## Cells\n\n| task | method | choice |")
	for _, name := range experiment.Measures {
		fmt.Fprintf(&out, " %s |", name)
	}
	out.WriteString("\n|---|---|---|---|---|---|---|---|---|\n")
	digits := []int{2, 3, 4, 0, 3, 3}
	type key struct{ task, method, term string }
	rows, order := map[key][]string{}, []key{}
	put := func(k key, text string) {
		if rows[k] == nil {
			order = append(order, k)
		}
		rows[k] = append(rows[k], text)
	}
	for _, one := range all {
		if one.CMI == experiment.Term(cmi.Choices[0]) {
			put(key{one.Task, one.Method, "–"}, fmt.Sprintf("%.*f", digits[one.Measure], one.Without))
		}
	}
	for _, one := range all {
		text := fmt.Sprintf("%.*f", digits[one.Measure], one.With)
		if one.Better > 0 {
			text += " ↑"
		} else {
			text += " ↓"
		}
		if one.Significant() {
			text = "**" + text + "**"
		}
		put(key{one.Task, one.Method, string(one.CMI)}, text)
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return strings.Compare(fmt.Sprintf("%03d%03d", slices.Index(f.tasks, a.task), slices.Index(f.methods, a.method)), fmt.Sprintf("%03d%03d", slices.Index(f.tasks, b.task), slices.Index(f.methods, b.method)))
	})
	for _, k := range order {
		fmt.Fprintf(&out, "| %s | `%s` | %s | %s |\n", k.task, k.method, k.term, strings.Join(rows[k], " | "))
	}
	out.WriteString("\n↑ better than without the term (ratios: nearer to 1), ↓ worse; bold: p < 0.05 after Holm's correction for all comparisons of the same choice.\n")

	out.WriteString("\n## Counted over the cells\n\n| method | choice | FID, LPIPS, SSIM: better; significantly | worse; significantly | ratios: nearer to 1; significantly | farther; significantly | LPIPS significantly worse |\n|---|---|---|---|---|---|---|\n")
	for _, method := range append(slices.Clone(f.methods), "all") {
		for _, choice := range cmi.Choices {
			var q, s [4]int // better, significantly, worse, significantly
			lpips := 0
			for _, one := range all {
				if one.CMI != experiment.Term(choice) || method != "all" && one.Method != method || one.Measure == 0 {
					continue
				}
				to := &q
				if one.Measure > 3 {
					to = &s
				}
				at := 0
				if one.Better <= 0 {
					at = 2
				}
				to[at]++
				if one.Significant() {
					to[at+1]++
					if at == 2 && one.Measure == 2 {
						lpips++
					}
				}
			}
			fmt.Fprintf(&out, "| `%s` | %s | %d; %d | %d; %d | %d; %d | %d; %d | %d |\n", method, choice, q[0], q[1], q[2], q[3], s[0], s[1], s[2], s[3], lpips)
		}
	}
	return out.String()
}
