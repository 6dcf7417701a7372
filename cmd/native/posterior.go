package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

type posteriorFlags struct {
	metrics            metricsFlags
	out, calibration   string
	directions, groups int
	json               bool
	seed               uint64
}

func posteriorCommand() *cobra.Command {
	var f posteriorFlags
	c := &cobra.Command{
		Use:   "posterior FOLDER",
		Short: "Judge the samples of restore --samples where the truth is known",
		Long: `posterior reads a folder of restore --samples, whose pictures restore degraded itself, and asks whether
the samples are such as the posterior would give:

  exchangeability  the distance between samples over their distance to the truth: 1 for the exact posterior,
                   below it the samples are too sure, above it too diffuse
  coverage         the share of the truth in the 50 and 90 % intervals, all pixels together and by the width
                   of their intervals; scaled by the factor that restore took, or that of --calibration
  ranks            of the truth among the samples along random directions: uniform for the exact posterior,
                   too often first and last where the samples are too narrow
  energy score     E|x - truth| - E|x - x'|/2 a pixel: lowest in the mean for the exact posterior

Ranges are 95 % bootstrap intervals over pictures. It writes ranks.svg and coverage.svg.`,
		Example: `  cmi-native restore faces/*.png --task box --method pathwise --steps 25 --samples 8 --out box
  cmi-native posterior box
  cmi-native posterior box --calibration none           # the intervals as the samples give them`,
		Args: arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error { return posterior(c, args[0], &f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.out, "out", "out/posterior", "`DIR` for the plots")
	fl.StringVar(&f.calibration, "calibration", "", "`FILE` of calibrate with the factor of the intervals, or none; without it the factor that restore took")
	fl.IntVar(&f.directions, "directions", 20, "random directions a picture")
	fl.IntVar(&f.groups, "strata", 5, "groups of pixels by the widths of their intervals")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of the directions and the bootstrap")
	fl.BoolVar(&f.json, "json", false, "print one JSON object")
	f.metrics.addLPIPS(c)
	return c
}

// ranged is a mean over pictures with its 95 % bootstrap interval; nil where a single picture has none.
type ranged struct {
	Value float64  `json:"value"`
	Low   *float64 `json:"low"`
	High  *float64 `json:"high"`
}

func (r ranged) text(format string, scale float64) string {
	text := fmt.Sprintf(format, scale*r.Value)
	if r.Low != nil && r.High != nil {
		text += fmt.Sprintf(" ["+format+", "+format+"]", scale**r.Low, scale**r.High)
	}
	return text
}

// stratum is the pixels with intervals of about one width.
type stratum struct {
	Width float64   `json:"width"` // of the 90 % interval, mean
	Share []float64 `json:"share"` // of the truth, in the intervals of each probability
}

// judged is what posterior says.
type judged struct {
	Run       string    `json:"run"`
	Pictures  int       `json:"pictures"`
	Samples   int       `json:"samples"`
	Factor    float64   `json:"factor"`
	From      string    `json:"calibration"`
	Squared   ranged    `json:"exchangeabilitySquared"`
	Perceived ranged    `json:"exchangeabilityPerceptual"`
	Distance  string    `json:"perceptual"` // the distance's name
	Energy    ranged    `json:"energyScore"`
	Levels    []float64 `json:"levels"`
	Coverage  []ranged  `json:"coverage"` // of each level
	Strata    []stratum `json:"strata"`
	Ranks     []int     `json:"ranks"`        // how often each was
	Extremes  ranged    `json:"extremes"`     // share of the first and the last rank
	Wanted    float64   `json:"wanted"`       // what that is for the exact posterior
	Seen      int       `json:"calibratedOn"` // pictures that the factor was found on
}

// judging gathers what is judged, picture by picture.
type judging struct {
	*posteriorFlags
	wanted   calibration // the first picture's
	factor   factor
	held     []string // of the calibration
	judge    experiment.Perceptual
	between  [2][]float64 // distances between samples, and to the truth, means over pairs
	toTruth  [2][]float64
	energy   []float64
	extremes []float64
	scores   [][]float64 // of all pictures' pixels, by level
	halves   []float64   // of the last level
	coverage [][]float64 // of each picture, by level
	ranks    []int
	seen     int
}

// levels are the probabilities of the intervals that are judged.
var levels = []float64{0.5, level}

func posterior(c *cobra.Command, folder string, f *posteriorFlags) (err error) {
	if f.directions < 1 || f.directions > 10_000 || f.groups < 1 || f.groups > 100 {
		return fmt.Errorf("--directions is %d and --strata %d, 1 to 10000 and 1 to 100 are possible", f.directions, f.groups)
	}
	if err := f.metrics.checkLPIPS(c); err != nil {
		return err
	}
	names, err := sampledIn(folder)
	if err != nil {
		return err
	}
	judges, closeJudges, err := f.metrics.loadOnCPU(c.Context(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(closeJudges())) }()
	j := judging{posteriorFlags: f, judge: judges.perceptual, scores: make([][]float64, len(levels)), coverage: make([][]float64, len(levels))}
	bar := newProgress(c.ErrOrStderr(), len(names))
	for _, name := range names {
		if err := j.add(c.Context(), folder, name); err != nil {
			return err
		}
		bar.run("posterior")(1)
	}
	bar.finish()
	found, err := j.finish(len(names))
	if err != nil {
		return failed(err)
	}
	if err := prepareFolder(f.out); err != nil {
		return err
	}
	if err := f.plot(found); err != nil {
		return failed(err)
	}
	if f.json {
		return failed(json.NewEncoder(c.OutOrStdout()).Encode(found))
	}
	return failed(found.table(c.OutOrStdout(), f.out))
}

// add judges a picture.
func (j *judging) add(ctx context.Context, folder, name string) error {
	s, err := openSampled(ctx, folder, name)
	if err != nil {
		return err
	}
	if err := j.sameRun(ctx, folder, s); err != nil {
		return err
	}
	if slices.Contains(j.held, heldMark(s.made)) {
		j.seen++
	}
	if err := j.distances(s); err != nil {
		return err
	}
	for i, p := range levels {
		scores, half, err := s.scores(p)
		if err != nil {
			return err
		}
		j.scores[i] = append(j.scores[i], scores...)
		j.coverage[i] = append(j.coverage[i], certainty.Coverage(scores, j.factor.value))
		if i == len(levels)-1 {
			j.halves = append(j.halves, half...)
		}
	}
	energy, err := certainty.EnergyScore(s.truth.Pix, s.pixels())
	if err != nil {
		return err
	}
	j.energy = append(j.energy, energy)
	ranks, err := certainty.Ranks(s.truth.Pix, s.pixels(), j.directions, j.seed)
	if err != nil {
		return err
	}
	extremes := 0.0
	for _, r := range ranks {
		j.ranks[r]++
		if r == 0 || r == len(s.samples) {
			extremes += 1 / float64(len(ranks))
		}
	}
	j.extremes = append(j.extremes, extremes)
	return nil
}

// sameRun takes the factor for the first picture, and refuses others that were made in another way.
func (j *judging) sameRun(ctx context.Context, folder string, s *sampled) error {
	of, err := calibrationOf(s.made)
	if err != nil {
		return err
	}
	if of.Samples = s.estimate.N; j.ranks == nil {
		j.wanted, j.ranks = of, make([]int, of.Samples+1)
		return j.takeFactor(ctx, s.made.Certainty)
	}
	if !of.is(j.wanted) || of.Samples != j.wanted.Samples {
		return fmt.Errorf("%s holds results of several runs: %d samples of %s, and of %s of %d (%s): judge each in a folder of its own", folder, j.wanted.Samples, j.wanted, s.name, of.Samples, of)
	}
	return nil
}

// takeFactor finds the factor of the intervals and the pictures that it was found on.
func (j *judging) takeFactor(ctx context.Context, made *certaintyOf) error {
	j.factor = factor{made.Factor, made.From}
	file := j.calibration
	switch {
	case file == "none":
		j.factor = factor{1, "none"}
		return nil
	case file == "" && made.From == "none":
		return nil
	case file == "" && made.From != "built in":
		file = made.From
	}
	one, found, err := findCalibration(ctx, file, j.wanted)
	if j.calibration == "" { // which pictures were seen is not known where the file is gone
		if err == nil && found {
			j.held = one.Held
		}
		return nil
	}
	j.factor, j.held = factor{one.Factor, file}, one.Held
	return err
}

// distances adds the mean distances between a picture's samples and of them to the truth.
func (j *judging) distances(s *sampled) error {
	truth := metric.Unit(s.truth.Pix)
	var units [][]float32
	for _, p := range s.samples {
		units = append(units, metric.Unit(p.Pix))
	}
	for d, distance := range []metric.Distance{metric.SquaredError[float32], j.judge.Distance} {
		var between, toTruth, pairs float64
		add := func(to *float64, x, y []float32) error {
			v, err := distance(x, y, 1, s.truth.C, s.truth.H, s.truth.W)
			if err == nil {
				*to += v[0]
			}
			return err
		}
		for k, x := range units {
			if err := add(&toTruth, x, truth); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			for _, other := range units[:k] {
				pairs++
				if err := add(&between, x, other); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
			}
		}
		j.between[d] = append(j.between[d], between/pairs)
		j.toTruth[d] = append(j.toTruth[d], toTruth/float64(len(units)))
	}
	return nil
}

// resamples of the bootstrap.
const resamples = 10_000

// finish returns the means.
func (j *judging) finish(pictures int) (*judged, error) {
	out := &judged{Run: j.wanted.String(), Pictures: pictures, Samples: j.wanted.Samples, Factor: j.factor.value, From: j.factor.from,
		Distance: j.judge.Name(), Levels: levels, Ranks: j.ranks, Wanted: 2 / float64(len(j.ranks)), Seen: j.seen}
	for d, to := range []*ranged{&out.Squared, &out.Perceived} {
		v, lo, hi, err := metric.Exchangeability(j.between[d], j.toTruth[d], j.toTruth[d], resamples, j.seed)
		if err != nil {
			return nil, err
		}
		*to = ranged{v, finite(lo), finite(hi)}
	}
	mean := func(values []float64) (ranged, error) {
		v, lo, hi, err := metric.PairedBootstrap(values, make([]float64, len(values)), resamples, j.seed)
		return ranged{v, finite(lo), finite(hi)}, err
	}
	var err error
	if out.Energy, err = mean(j.energy); err != nil {
		return nil, err
	}
	if out.Extremes, err = mean(j.extremes); err != nil {
		return nil, err
	}
	out.Strata = make([]stratum, j.groups)
	for i := range levels {
		covered, err := mean(j.coverage[i])
		if err != nil {
			return nil, err
		}
		out.Coverage = append(out.Coverage, covered)
		strata, err := certainty.Strata(j.scores[i], j.halves, j.groups, j.factor.value)
		if err != nil {
			return nil, err
		}
		for k, s := range strata {
			out.Strata[k].Width = s.Width
			out.Strata[k].Share = append(out.Strata[k].Share, s.Coverage)
		}
	}
	return out, nil
}

// plot writes ranks.svg and coverage.svg.
func (f *posteriorFlags) plot(found *judged) error {
	ranks, err := experiment.RanksPlot(found.Ranks)
	if err != nil {
		return err
	}
	coverage, err := experiment.CoveragePlot(levels, found.curves())
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"ranks.svg": ranks, "coverage.svg": coverage} {
		if err := picture.Replace(filepath.Join(f.out, name), func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
			return err
		}
	}
	return nil
}

// curves returns the strata of each level.
func (r *judged) curves() [][]certainty.Stratum {
	out := make([][]certainty.Stratum, len(r.Levels))
	for _, s := range r.Strata {
		for i, share := range s.Share {
			out[i] = append(out[i], certainty.Stratum{Width: s.Width, Coverage: share})
		}
	}
	return out
}

// table prints what was judged.
func (r *judged) table(to io.Writer, out string) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%d pictures, %d samples each: %s", r.Pictures, r.Samples, r.Run)
	line("exchangeability   squared error %s, %s %s → 1", r.Squared.text("%.2f", 1), r.Distance, r.Perceived.text("%.2f", 1))
	line("energy score      %s", r.Energy.text("%.4f", 1))
	line("ranks             first or last %s, %.1f %% are wanted", r.Extremes.text("%.1f %%", 100), 100*r.Wanted)
	total := 0
	for _, n := range r.Ranks {
		total += n
	}
	for rank, n := range r.Ranks {
		share := float64(n) / float64(total)
		line("  %4d %5.1f %% %s", rank, 100*share, strings.Repeat("#", int(share*100+.5)))
	}
	line("factor            %.3f (%s)", r.Factor, r.From)
	line("coverage          50 %%: %s   90 %%: %s", r.Coverage[0].text("%.1f", 100), r.Coverage[1].text("%.1f", 100))
	line("  width of 90 %%   50 %%    90 %%")
	for _, s := range r.Strata {
		line("  %12.3f  %5.1f  %5.1f", s.Width, 100*s.Share[0], 100*s.Share[1])
	}
	if r.Seen > 0 {
		line("note: the factor was found on %d of these pictures: its coverage of them says little of others", r.Seen)
	}
	line("plots: %s, %s", filepath.Join(out, "ranks.svg"), filepath.Join(out, "coverage.svg"))
	_, err := io.WriteString(to, b.String())
	return err
}
