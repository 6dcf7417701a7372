package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
	"github.com/cmi-diffusion/cmi/sdk/referee"
	statewise "github.com/cmi-diffusion/cmi/sdk/study"
)

// studyWhy measures the curvature beside ∇I.
func studyWhy(c *cobra.Command, f *studyFlags, r *studyRun) (text string, err error) {
	rows, err := openLines[statewise.Curvature](filepath.Join(f.out, "why.jsonl"), f.settings)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.file.Close()) }()
	w := &whyRun{studyFlags: f, c: c, rows: rows}
	states := append([]string{"true"}, whyMethods(f.methods)...)
	w.bar = newProgress(c.ErrOrStderr(), (len(mixtureStates)*f.mixtures*mixtureDraws+len(whyTasks)*f.states*len(states))*len(studyLevels))
	if err := w.onMixtures(); err != nil {
		return "", err
	}
	if err := r.place.Do(c.Context(), func(m prior.Model) error { return w.learned(m, r, states) }); err != nil {
		return "", err
	}
	w.bar.finish()
	return whyText(w.all), nil
}

// whyTasks are those that why measures at.
var whyTasks = []string{"sr4", "box"}

// whyMethods leaves out what does not move the state by a gradient at x_t.
func whyMethods(methods []string) (out []string) {
	for _, m := range methods {
		if m != "pathwise-mean" { // as mmps, but for the solver
			out = append(out, m)
		}
	}
	return out
}

type whyRun struct {
	*studyFlags
	c    *cobra.Command
	rows *lines[statewise.Curvature]
	bar  *progress
	all  []whyRow
}

type whyRow struct {
	prior string
	statewise.Curvature
}

// measure measures a state, or takes the row that is there.
func (w *whyRun) measure(of string, l *statewise.Lens, e statewise.Estimation, at statewise.Where, x, y []float32, index, k, draw int) (err error) {
	key := fmt.Sprint(of, " ", at.Task, " ", at.Image, " ", at.State, " ", index, " ", draw)
	row, there := w.rows.done[key]
	if !there {
		if row, err = e.MeasureCurvature(l, at, x, y, index, k); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if err := w.rows.add(key, row); err != nil {
			return err
		}
	}
	w.all = append(w.all, whyRow{of, row})
	w.bar.run("why " + key)(1)
	return nil
}

// learned measures states of the prior: true pictures, noised, and those that methods without the term reach.
func (w *whyRun) learned(m prior.Model, r *studyRun, states []string) error {
	s, err := w.schedule(m)
	if err != nil {
		return err
	}
	indices := statewise.Nearest(s, studyLevels...)
	for _, task := range whyTasks {
		for i := range w.states {
			truth, err := r.reported.open(i)
			if err != nil {
				return err
			}
			for _, state := range states {
				spec := w.Spec
				spec.Task, spec.Method = task, state
				if state == "true" {
					spec.Method = "dps"
				}
				work, err := job.New(m, spec, job.Image{C: truth.C, H: truth.H, W: truth.W, Pix: truth.Pix, Number: uint64(i)})
				if err != nil {
					return err
				}
				p, free, err := work.Problem(m)
				if err != nil {
					return err
				}
				err = w.alongRun(m, p, work.Options, s, statewise.Where{Task: task, Image: r.reported.names[i], State: state}, truth.Pix, uint64(i), indices)
				free()
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// alongRun measures the states of one run at some steps, or the true picture's.
func (w *whyRun) alongRun(m prior.Model, p sdk.Problem, o sdk.Options, s *diffusion.Schedule, at statewise.Where, truth []float32, number uint64, indices []int) error {
	lens, err := statewise.NewLens(m, p.Operator.(measure.Linear), s, w.SigmaY)
	if err != nil {
		return err
	}
	defer lens.Close()
	lens.Interrupt(w.c.Context().Err)
	e := statewise.Estimation{Probes: 8, Seed: w.Seed, Image: number}
	if at.State == "true" {
		for _, index := range indices {
			if err := w.measure("learned", lens, e, at, noised(truth, s, index, w.Seed, number), p.Y, index, 4, 0); err != nil {
				return err
			}
		}
		return nil
	}
	reached, err := statesOf(w.c, p, o, indices)
	if err != nil {
		return err
	}
	for k, index := range indices {
		if err := w.measure("learned", lens, e, at, reached[k], p.Y, index, 4, 0); err != nil {
			return err
		}
	}
	return nil
}

// statesOf runs a sampler and returns its states before some steps.
func statesOf(c *cobra.Command, p sdk.Problem, o sdk.Options, indices []int) ([][]float32, error) {
	solver, err := sdk.NewSolver(p, o)
	if err != nil {
		return nil, err
	}
	defer solver.Close()
	reached := make([][]float32, len(indices))
	for {
		x, next, err := solver.State()
		if err != nil || next < 0 {
			return reached, err
		}
		for k, index := range indices {
			if index == next {
				reached[k] = x
			}
		}
		if err := c.Context().Err(); err != nil {
			return nil, err
		}
		if err := solver.Step(); err != nil {
			return nil, err
		}
	}
}

// mixtureDraws is the number of states of each mixture, level and kind.
const mixtureDraws = 16

// mixtureStates are the kinds of states on mixtures.
var mixtureStates = []struct {
	name   string
	method func(rank int) guide.Method
}{
	{"true", nil},
	{"dps", func(int) guide.Method { return guide.DPS{Scale: 0.3} }},
	{"pigdm", func(int) guide.Method { return guide.PiGDM{Scale: 1, GuidedMean: true} }},
	{"mmps", func(rank int) guide.Method { return guide.Evidence{Scale: 1, Lanczos: rank} }},
}

// onMixtures measures states of mixtures, where score and posterior are exact.
func (w *whyRun) onMixtures() error {
	dev, err := openDevice(w.c.Context(), "cpu")
	if err != nil {
		return err
	}
	defer dev.Close()
	betas, s, err := referee.Schedule()
	if err != nil {
		return err
	}
	table := referee.Curvature().Setting
	for i := range w.mixtures {
		p, err := mixture.NewProblem(mixture.ProblemConfig{Components: table.Components, Dim: table.Dim, Rows: table.Rows, Orthonormal: table.Orthonormal, Seed: w.Seed + uint64(i)})
		if err != nil {
			return err
		}
		m, err := mixture.NewModel(p.Prior, diffusion.AlphaBars(betas), dev)
		if err == nil {
			err = w.mixture(m, p, s, table.Rows, i)
			m.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *whyRun) mixture(m prior.Model, p *mixture.Problem, s *diffusion.Schedule, rank, number int) error {
	op, err := measure.NewDense(m.Device(), p.A)
	if err != nil {
		return err
	}
	defer op.Close()
	lens, err := statewise.NewLens(m, op, s, p.SigmaY)
	if err != nil {
		return err
	}
	defer lens.Close()
	posterior, err := p.Posterior()
	if err != nil {
		return err
	}
	exact := posterior.Sample(mixtureDraws, rand.New(rand.NewPCG(w.Seed+uint64(number), 3)))
	y, many := make([]float32, len(p.Y)), []float32(nil)
	for i, v := range p.Y {
		y[i] = float32(v)
	}
	for range mixtureDraws {
		many = append(many, y...)
	}
	indices := statewise.Nearest(s, studyLevels...)
	for _, kind := range mixtureStates {
		at := statewise.Where{Task: "mixture", Image: fmt.Sprint(number), State: kind.name}
		var reached [][]float32
		if kind.method != nil {
			if reached, err = statesOf(w.c, sdk.Problem{Prior: m, Operator: op, Y: many, N: mixtureDraws, SigmaY: p.SigmaY},
				sdk.Options{Method: kind.method(rank), Schedule: s, Variance: diffusion.FixedSmall, NoClip: true, Seed: w.Seed + uint64(number)}, indices); err != nil {
				return err
			}
		}
		for k, index := range indices {
			for draw := range mixtureDraws {
				image := uint64(number)<<8 | uint64(draw)
				var x []float32
				if kind.method != nil {
					n := len(p.Truth)
					x = reached[k][draw*n : (draw+1)*n]
				} else {
					x0 := make([]float32, len(p.Truth))
					for d, v := range exact[draw] {
						x0[d] = float32(v)
					}
					x = noised(x0, s, index, w.Seed, image)
				}
				e := statewise.Estimation{Probes: 8, Seed: w.Seed, Image: image}
				if err := w.measure("mixture", lens, e, at, x, y, index, rank, draw); err != nil {
					return err
				}
			}
			if err := w.c.Context().Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// leastNorm is the root mean square ‖∇I‖, in nats per unit of x_t, below which nothing is said of κ: the term does
// nothing there, and the quotient is of a few states.
const leastNorm = 0.1

func whyText(all []whyRow) string {
	var out strings.Builder
	out.WriteString("## The curvature C at the innovation, beside ∇I\n\n| prior | task | states | ᾱ | ‖∇I‖ | κ = ⟨C, ∇I⟩/‖∇I‖² | cosine of C and ∇I | of one probe and ∇I | ‖w‖²/E‖v‖² |\n|---|---|---|---|---|---|---|---|---|\n")
	type key struct{ prior, task, state string }
	var keys []key
	groups := map[key][]statewise.Curvature{}
	for _, r := range all {
		k := key{r.prior, r.Task, r.State}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], r.Curvature)
	}
	for _, k := range keys {
		for _, level := range levelsOf(groups[k], func(r statewise.Curvature) float64 { return r.AlphaBar }) {
			var rows []statewise.Curvature
			for _, r := range groups[k] {
				if r.AlphaBar == level {
					rows = append(rows, r)
				}
			}
			t := statewise.Gather(rows)
			slope := fmt.Sprintf("%.2f ± %.2f | %.2f | %.2f", t.Slope, t.Error, t.Cosine, t.OneProbe)
			if !(t.Norm > leastNorm) {
				slope = "– | – | –"
			}
			fmt.Fprintf(&out, "| %s | %s | %s | %.3f | %.2g | %s | %.2f |\n", k.prior, k.task, k.state, level, t.Norm, slope, t.Size)
		}
	}
	out.WriteString("\nκ with its standard error over the pictures or problems. Where S is right for the innovations κ = 1 and ‖w‖² = E‖v‖², and C is as near to ∇I as one probe is.\n")
	return out.String()
}
