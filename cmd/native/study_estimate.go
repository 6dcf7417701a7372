package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	statewise "github.com/cmi-diffusion/cmi/sdk/study"
)

// moveLength is the length of the steps that estimate takes, in standard deviations of the reverse step.
const moveLength = 0.02

// studyLevels are the noise levels ᾱ_t that states are measured at, about.
var studyLevels = []float64{0.03, 0.1, 0.3, 0.6, 0.9}

// small are the measurements of estimate: as many values that a trace is possible.
var small = []struct {
	name string
	make func(dev compute.Device, side int) (measure.Operator, error)
}{
	{"means", func(dev compute.Device, side int) (measure.Operator, error) { // of 4 × 4 fields
		return measure.NewPool(dev, 3, side, side, side/4)
	}},
	{"crop", func(dev compute.Device, side int) (measure.Operator, error) { // the 4 × 4 pixels in the middle
		mask := make([]float32, side*side)
		for i := range mask {
			if y, x := i/side-side/2+2, i%side-side/2+2; y >= 0 && y < 4 && x >= 0 && x < 4 {
				mask[i] = 1
			}
		}
		return measure.ForTask("mask", dev, 3, side, side, measure.Inputs{Mask: mask})
	}},
}

// noised is √ᾱ x0 + σ n before step index, with the noise of an image.
func noised(x0 []float32, s *diffusion.Schedule, index int, seed, image uint64) []float32 {
	n := make([]float32, len(x0))
	diffusion.Stream{Seed: seed, Image: image, Purpose: diffusion.Initial}.Normals(n)
	a, b := s.Forward(index)
	for i := range n {
		n[i] = float32(a*float64(x0[i]) + b*float64(n[i]))
	}
	return n
}

// studyEstimate compares the probes' estimate with the trace.
func studyEstimate(c *cobra.Command, f *studyFlags, r *studyRun) (text string, err error) {
	rows, err := openLines[statewise.Estimate](filepath.Join(f.out, "estimate.jsonl"), f.settings)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.file.Close()) }()
	bar := newProgress(c.ErrOrStderr(), len(small)*f.states*len(studyLevels))
	var all []statewise.Estimate
	err = r.place.Do(c.Context(), func(m prior.Model) error {
		all = nil
		s, err := f.schedule(m)
		if err != nil {
			return err
		}
		_, side, _ := m.Image()
		for _, task := range small {
			op, err := task.make(m.Device(), side)
			if err != nil {
				return err
			}
			defer op.Close()
			lens, err := statewise.NewLens(m, op.(measure.Linear), s, f.SigmaY)
			if err != nil {
				return err
			}
			defer lens.Close()
			lens.Interrupt(c.Context().Err)
			for i := range f.states {
				truth, err := r.reported.open(i)
				if err != nil {
					return err
				}
				for _, index := range statewise.Nearest(s, studyLevels...) {
					at := statewise.Where{Task: task.name, Image: r.reported.names[i], State: "true"}
					key := fmt.Sprint(at.Task, " ", at.Image, " ", index)
					row, there := rows.done[key]
					if !there {
						e := statewise.Estimation{Lanczos: []int{0, 1, 2, 4}, Probes: 8, Seed: f.Seed, Image: uint64(i), Length: moveLength}
						if row, err = e.Measure(lens, at, noised(truth.Pix, s, index, f.Seed, uint64(i)), noised(truth.Pix, s, index-1, f.Seed, uint64(i)), index); err != nil {
							return fmt.Errorf("%s: %w", key, err)
						}
						if err := rows.add(key, row); err != nil {
							return err
						}
					}
					all = append(all, row)
					bar.run("estimate " + key)(1)
				}
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	bar.finish()
	return estimateText(all), nil
}

// schedule is that of the study's runs.
func (f *studyFlags) schedule(m prior.Model) (*diffusion.Schedule, error) {
	_, betas, err := f.NoiseSchedule(m)
	if err != nil {
		return nil, err
	}
	return diffusion.New(betas, f.Steps)
}

func estimateText(all []statewise.Estimate) string {
	var out strings.Builder
	byLevel := func(do func(task string, alphaBar float64, rows []statewise.Estimate)) {
		for _, task := range small {
			for _, level := range levelsOf(all, func(r statewise.Estimate) float64 { return r.AlphaBar }) {
				var rows []statewise.Estimate
				for _, r := range all {
					if r.Task == task.name && r.AlphaBar == level {
						rows = append(rows, r)
					}
				}
				if len(rows) > 0 {
					do(task.name, level, rows)
				}
			}
		}
	}
	mean := func(rows []statewise.Estimate, of func(statewise.Estimate) float64) float64 {
		sum := 0.0
		for _, r := range rows {
			sum += of(r) / float64(len(rows))
		}
		return sum
	}
	out.WriteString("## Probes against the trace\n\n| measurement | ᾱ | I, nats | eigenvalues ≤ 0 | they would add | K | cosine of one probe | slope | bias² | variance |\n|---|---|---|---|---|---|---|---|---|---|\n")
	byLevel(func(task string, level float64, rows []statewise.Estimate) {
		for k, p := range rows[0].Probes {
			fmt.Fprintf(&out, "| %s | %.3f | %.0f | %.0f of %d | %.2f | %d | %.2f | %.2f | %.2f | %.1f |\n", task, level,
				mean(rows, func(r statewise.Estimate) float64 { return r.Information }),
				mean(rows, func(r statewise.Estimate) float64 { return float64(r.NotPositive) }), rows[0].Measurements,
				mean(rows, func(r statewise.Estimate) float64 { return r.Negative }), p.Lanczos,
				mean(rows, func(r statewise.Estimate) float64 { return r.Probes[k].Cosine }),
				mean(rows, func(r statewise.Estimate) float64 { return r.Probes[k].Slope }),
				mean(rows, func(r statewise.Estimate) float64 { return r.Probes[k].Bias }),
				mean(rows, func(r statewise.Estimate) float64 { return r.Probes[k].Variance }))
		}
	})
	out.WriteString("\nMeans over the pictures, in multiples of ‖G‖² of the trace G: bias² is ‖Eg − G‖², variance E‖g − Eg‖²; slope is ⟨Eg, G⟩/‖G‖².\n")
	out.WriteString("\n## Less variance at equal cost\n\n| measurement | ᾱ | one probe, K = 2 | mean of 4 | 4 on disjoint measurements | correlation with the next step, shared probe |\n|---|---|---|---|---|---|\n")
	byLevel(func(task string, level float64, rows []statewise.Estimate) {
		k := 0
		for i, p := range rows[0].Probes {
			if p.Lanczos == 2 {
				k = i
			}
		}
		bias, variance := mean(rows, func(r statewise.Estimate) float64 { return r.Probes[k].Bias }), mean(rows, func(r statewise.Estimate) float64 { return r.Probes[k].Variance })
		fmt.Fprintf(&out, "| %s | %.3f | %.1f | %.1f | %.1f | %.2f |\n", task, level, bias+variance, bias+variance/4,
			mean(rows, func(r statewise.Estimate) float64 { return r.Split }), mean(rows, func(r statewise.Estimate) float64 { return r.Shared }))
	})
	out.WriteString("\nE‖· − G‖²/‖G‖². A control variate by the step before leaves 1 − ρ² of the variance and costs as much as a second probe, which leaves ½.\n")
	out.WriteString("\n## A step along the direction, and the measured I\n\n| measurement | ᾱ | along the trace: predicted; measured | against it | along one probe, K = 2 | at random |\n|---|---|---|---|---|---|\n")
	byLevel(func(task string, level float64, rows []statewise.Estimate) {
		fmt.Fprintf(&out, "| %s | %.3f |", task, level)
		for k := range rows[0].Moves {
			up := 0
			for _, r := range rows {
				if r.Moves[k].Measured > 0 {
					up++
				}
			}
			fmt.Fprintf(&out, " %+.2f; %+.2f, up in %d of %d |", mean(rows, func(r statewise.Estimate) float64 { return r.Moves[k].Predicted }),
				mean(rows, func(r statewise.Estimate) float64 { return r.Moves[k].Measured }), up, len(rows))
		}
		out.WriteString("\n")
	})
	fmt.Fprintf(&out, "\nNats, for a step of %g times the reverse step's standard deviation.\n", moveLength)
	return out.String()
}

// levelsOf returns the different values of rows, in order.
func levelsOf[T any](rows []T, of func(T) float64) (levels []float64) {
	for _, r := range rows {
		at := 0
		for at < len(levels) && levels[at] < of(r) {
			at++
		}
		if at == len(levels) || levels[at] != of(r) {
			levels = append(levels[:at], append([]float64{of(r)}, levels[at:]...)...)
		}
	}
	return levels
}
