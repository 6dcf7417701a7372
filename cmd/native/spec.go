package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// specFlags are the flags of a job's spec. A flag has the name of its field, with
// hyphens: see [flagOf].
type specFlags struct{ job.Spec }

func (f *specFlags) add(c *cobra.Command, steps int) {
	f.Spec = job.Default()
	fl := c.Flags()
	fl.IntVar(&f.Steps, "steps", steps, "reverse steps (the model was trained with 1000)")
	fl.Uint64Var(&f.Seed, "seed", f.Seed, "random seed; the same seed gives the same picture")
	fl.StringVar(&f.Schedule, "schedule", f.Schedule, "noise schedule of the model: linear, cosine, or auto for the model's own (linear where it does not say)")
	fl.IntVar(&f.NetworkNoise, "network-noise", 0, "dps, dps+, adamdps, pigdm, evidence, mmps, tmpd, pathwise-mean and sample: draw a step's noise with the network's own covariance of the image, by so many Lanczos steps, each one network pass: samples that differ more, as they should, see docs/methods.md. 0 is without")
	fl.Var(&optionalNumber{&f.DDIM}, "ddim", "sample with DDIM and this eta, 0 to 1, or negative DDPM's chain; if left out, what the method was published on")
}

// optionalNumber is the value of a flag without a default.
type optionalNumber struct{ to **float64 }

func (o optionalNumber) String() string {
	if o.to == nil || *o.to == nil {
		return ""
	}
	return fmt.Sprint(**o.to)
}

func (o optionalNumber) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	*o.to = &v
	return err
}

func (optionalNumber) Type() string { return "float64" }

func (f *specFlags) addGuidance(c *cobra.Command) {
	fl, t := c.Flags(), &f.CMI.Options
	fl.Float64Var(&f.Scale, "scale", 0, "scale of the data guidance; 0 takes the published one for the task, times 1000/steps")
	fl.Float64Var(&f.DPSLimit, "dps-limit", 0, "dps: a step takes away no more than this fraction of the residual; 0 takes 0.5 for fewer than 1000 steps, negative is no limit, as published")
	fl.IntVar(&f.Start, "start", 0, "training step to start at, from the pseudo-inverse of the measurement; all --steps are taken below it. 0 starts at the last one, from pure noise")
	fl.IntVar(&f.Particles, "particles", 0, "dps, dps+, adamdps, pigdm, evidence, mmps, tmpd, pathwise-mean: states that follow each sample, weighed by the posterior and resampled (twisted sequential Monte Carlo); the result is one of them, drawn by its weight. 0 is without")
	fl.Float64Var(&f.SigmaY, "sigma-y", f.SigmaY, "standard deviation of the measurement noise, images in [-1, 1]")
	fl.Float64Var(&f.Curvature, "curvature", 0, "pigdm, evidence: weight of the innovation curvature, one jet along the innovation; 1 is the evidence's gradient")
	fl.BoolVar(&f.GuidedMean, "guided-mean", false, "pigdm: guide the mean of the base sampler instead of the published DDIM form")
	fl.Float64Var(&f.LearnedVariance, "learned-variance", 0, "pigdm (with --guided-mean), diffpir: below this noise level σ_t/√ᾱ_t take the posterior variance of each pixel that the network has learned, in place of one for all; 0.2 as published")
	fl.BoolVar(&f.Published, "published", false, "dps (inpainting), mcg, pigdm: as the published programs have it where the default differs, see docs/published.md")
	fl.Float64Var(&t.Eta, "eta", t.Eta, "CMI: weight η; the density is tilted by exp(η I); may be negative")
	fl.StringVar((*string)(&t.Weighting), "weighting", string(t.Weighting), "CMI: a step's weight, beta (η β_t) or constant (η)")
	fl.IntVar(&t.Lanczos, "lanczos", t.Lanczos, "CMI, evidence, mmps, pathwise (K = K′) and pathwise-mean: Lanczos steps K, each one network pass; for CMI 0 takes the isotropic covariance")
	fl.IntVar(&t.Probes, "probes", t.Probes, "CMI: Rademacher probes averaged")
	fl.StringVar((*string)(&t.Estimator), "estimator", string(t.Estimator), "CMI: probe; or trace, two-direction, two-trace, for tiny problems only")
	fl.Float64Var(&t.MinAlphaBar, "window-from", t.MinAlphaBar, "CMI: acts where alpha-bar is at least this")
	fl.Float64Var(&t.MaxAlphaBar, "window-to", t.MaxAlphaBar, "CMI: acts where alpha-bar is at most this")
	fl.IntVar(&t.First, "first-step", t.First, "CMI: first active step, counted from 1 at pure noise; 0 is no bound")
	fl.IntVar(&t.Last, "last-step", t.Last, "CMI: last active step; 0 is no bound")
	fl.IntVar(&t.Every, "every", t.Every, "CMI: act in every k-th step")
	fl.Float64Var(&t.TrustStd, "trust-std", t.TrustStd, "CMI: limit the term to this multiple of the step's standard deviation; 0 is no limit")
	fl.Float64Var(&t.TrustGuidance, "trust-guidance", t.TrustGuidance, "CMI: limit the term to this multiple of the data guidance; 0 is no limit")
}

// termFlag is the value of --cmi: false, or what the information term is taken for. true, which is --cmi
// alone, takes what suits the method.
type termFlag struct{ *job.Term }

func (t termFlag) String() string {
	switch {
	case t.Term == nil || !t.On:
		return "false"
	case t.Choice == "":
		return "true"
	}
	return string(t.Choice)
}

func (t termFlag) Set(text string) error {
	t.On, t.Choice = true, ""
	switch choice := cmi.Choice(text); {
	case text == "true":
	case text == "false" || choice == cmi.Off:
		t.On = false
	case choice == cmi.Custom || slices.Contains(cmi.Choices, choice):
		t.Choice = choice
	default:
		return fmt.Errorf("%s or off is wanted", cmi.ChoiceNames())
	}
	return nil
}

func (termFlag) Type() string { return "choice" }

// addTerm adds --cmi.
func (f *specFlags) addTerm(c *cobra.Command) {
	c.Flags().Var(termFlag{&f.CMI}, "cmi", "add the information term, the gradient ∇I of the conditional mutual information: paper (+∇I, as published), fidelity (-∇I: smoother, nearer to the truth on average), spread (+∇I with twice the limit: samples that differ more) or off; --cmi alone takes what was best at the method, see docs/cmi-study.md")
	c.Flags().Lookup("cmi").NoOptDefVal = "true"
}

// joinChoice lets a choice stand behind --cmi as a word of its own.
func joinChoice(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(joined, args[i:]...)
		}
		if i+1 < len(args) && args[i] == "--cmi" {
			if next := cmi.Choice(args[i+1]); next == cmi.Off || next == cmi.Custom || slices.Contains(cmi.Choices, next) {
				joined = append(joined, "--cmi="+args[i+1])
				i++
				continue
			}
		}
		joined = append(joined, args[i])
	}
	return joined
}

// chooseTerm decides the information term's choice at a method, so that every output can say which
// it is. Flags that give its weight or its limit are a choice of their own.
func (f *specFlags) chooseTerm(c *cobra.Command, method string) (err error) {
	for _, flag := range []string{"eta", "trust-guidance"} {
		if !f.CMI.On || !c.Flags().Changed(flag) {
			continue
		}
		if f.CMI.Choice != "" && f.CMI.Choice != cmi.Custom {
			return fmt.Errorf("--%s and --cmi=%s: the choice sets it; leave out one of them", flag, f.CMI.Choice)
		}
		f.CMI.Choice = cmi.Custom
	}
	f.CMI, err = f.CMI.For(method)
	return err
}

// needs returns what the guidance's flags need of the methods and the information term.
func (f *specFlags) needs(withCMI bool, methods ...string) []need {
	any := func(of ...string) need {
		return need{met: slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(of, m) }), what: "the method " + strings.Join(of, " or ")}
	}
	with := func(n need, flags ...string) need { n.flags = flags; return n }
	krylov := any("evidence", "mmps", "pathwise", "pathwise-mean")
	return []need{
		{withCMI, "--cmi", []string{"eta", "weighting", "probes", "estimator", "window-to", "first-step", "last-step", "every", "trust-std"}},
		{withCMI || krylov.met, "--cmi or " + krylov.what, []string{"lanczos"}},
		{withCMI || f.Curvature != 0, "--cmi or --curvature", []string{"window-from", "trust-guidance"}},
		with(any("pigdm", "evidence"), "curvature"),
		with(any("pigdm"), "guided-mean"),
		with(any("pigdm", "diffpir"), "learned-variance"),
		with(any("dps", "dps+", "adamdps", "pigdm", "evidence", "mmps", "tmpd", "pathwise-mean"), "network-noise"),
		with(any("dps", "dps+", "mcg", "pigdm"), "published"),
		with(any("dps", "dps+", "cadps"), "dps-limit"),
		with(any("dps", "dps+", "adamdps", "cadps", "dsg", "pigdm", "evidence"), "scale"),
	}
}

// flagOf returns the flag of a spec's field: --sigma-y of sigmaY.
func flagOf(field string) string {
	flag := "--"
	for _, r := range field {
		if unicode.IsUpper(r) {
			flag += "-"
		}
		flag += string(unicode.ToLower(r))
	}
	return flag
}

// runJob makes a job at a place and restores its images. report gets the passes of one image.
func runJob(ctx context.Context, place *sdk.Place, spec job.Spec, report func(passes int), images ...job.Image) (j *job.Job, restored []job.Image, err error) {
	if err := place.Do(ctx, func(m prior.Model) (err error) {
		j, err = job.New(m, spec, images...)
		return err
	}); err != nil {
		return nil, nil, err
	}
	j.Options.OnStep = func(p sdk.Progress) { report(p.Passes) }
	restored, err = j.Run(ctx, place)
	return j, restored, err
}

// pictureOf returns an image as a picture.
func pictureOf(i job.Image) picture.Image {
	return picture.Image{C: i.C, H: i.H, W: i.W, Pix: i.Pix, Name: i.Name}
}

// imageOf returns a picture as a job's image of that number.
func imageOf(p picture.Image, number int) job.Image {
	return job.Image{C: p.C, H: p.H, W: p.W, Pix: p.Pix, Name: p.Name, Number: uint64(number)}
}

// measuredCell returns a measurement in a grid.
func measuredCell(y job.Measurement) picture.Cell {
	return picture.Cell{Image: picture.Image{C: y.C, H: y.H, W: y.W, Pix: y.Y}, Keep: y.Known}
}
