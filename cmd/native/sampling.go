package main

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// samplingFlags are the knobs of the sampler and of the information term.
type samplingFlags struct {
	steps    int
	seed     uint64
	schedule string
	ddim     float64
	scale    float64
	limitDPS float64
	sigmaY   float64

	curvature  float64
	guidedMean bool

	term     cmi.Options
	weight   string
	estimate string
}

func (f *samplingFlags) add(c *cobra.Command, steps int) {
	fl := c.Flags()
	fl.IntVar(&f.steps, "steps", steps, "reverse steps (the model was trained with 1000)")
	fl.Uint64Var(&f.seed, "seed", 1, "random seed; the same seed gives the same picture")
	fl.StringVar(&f.schedule, "schedule", "linear", "noise schedule of the model: linear or cosine")
	fl.Float64Var(&f.ddim, "ddim", -1, "sample with DDIM and this eta, 0 to 1; negative samples DDPM's chain")
}

func (f *samplingFlags) addGuidance(c *cobra.Command) {
	fl, d := c.Flags(), f.setDefaultTerm()
	fl.Float64Var(&f.scale, "scale", 0, "scale of the data guidance; 0 takes the published one for the task, times 1000/steps")
	fl.Float64Var(&f.limitDPS, "dps-limit", 0, "dps: a step takes away no more than this fraction of the residual; 0 takes 0.5 for fewer than 1000 steps, negative is no limit, as published")
	fl.Float64Var(&f.sigmaY, "sigma-y", 0.05, "standard deviation of the measurement noise, images in [-1, 1]")
	fl.Float64Var(&f.curvature, "curvature", 0, "pigdm, evidence: weight of the innovation curvature, one jet along the innovation; 1 is the evidence's gradient")
	fl.BoolVar(&f.guidedMean, "guided-mean", false, "pigdm: guide the mean of the base sampler instead of the published DDIM form")
	fl.Float64Var(&f.term.Eta, "eta", d.Eta, "CMI: weight η; the density is tilted by exp(η I); may be negative")
	fl.StringVar(&f.weight, "weighting", string(d.Weighting), "CMI: a step's weight, beta (η β_t) or constant (η)")
	fl.IntVar(&f.term.Lanczos, "lanczos", d.Lanczos, "CMI, evidence: Lanczos steps K, each one network pass; for CMI 0 takes the isotropic covariance")
	fl.IntVar(&f.term.Probes, "probes", d.Probes, "CMI: Rademacher probes averaged")
	fl.StringVar(&f.estimate, "estimator", string(d.Estimator), "CMI: probe; or trace, two-direction, two-trace, for tiny problems only")
	fl.Float64Var(&f.term.MinAlphaBar, "window-from", d.MinAlphaBar, "CMI: acts where alpha-bar is at least this")
	fl.Float64Var(&f.term.MaxAlphaBar, "window-to", d.MaxAlphaBar, "CMI: acts where alpha-bar is at most this")
	fl.IntVar(&f.term.First, "first-step", d.First, "CMI: first active step, counted from 1 at pure noise; 0 is no bound")
	fl.IntVar(&f.term.Last, "last-step", d.Last, "CMI: last active step; 0 is no bound")
	fl.IntVar(&f.term.Every, "every", d.Every, "CMI: act in every k-th step")
	fl.Float64Var(&f.term.TrustStd, "trust-std", d.TrustStd, "CMI: limit the term to this multiple of the step's standard deviation; 0 is no limit")
	fl.Float64Var(&f.term.TrustGuidance, "trust-guidance", d.TrustGuidance, "CMI: limit the term to this multiple of the data guidance; 0 is no limit")
}

// needs are what the guidance's flags need of the methods and the information term.
func (f *samplingFlags) needs(withCMI bool, methods ...string) []need {
	any := func(of ...string) need {
		return need{met: slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(of, m) }), what: "the method " + strings.Join(of, " or ")}
	}
	with := func(n need, flags ...string) need { n.flags = flags; return n }
	return []need{
		{withCMI, "--cmi", []string{"eta", "weighting", "probes", "estimator", "window-to", "first-step", "last-step", "every", "trust-std"}},
		{withCMI || slices.Contains(methods, "evidence"), "--cmi or the method evidence", []string{"lanczos"}},
		{withCMI || f.curvature != 0, "--cmi or --curvature", []string{"window-from", "trust-guidance"}},
		with(any("pigdm", "evidence"), "curvature"),
		with(any("pigdm"), "guided-mean"),
		with(any("dps", "dps+"), "dps-limit"),
		with(any("dps", "dps+", "dsg", "pigdm", "evidence"), "scale"),
	}
}

// setDefaultTerm takes the information term's defaults.
func (f *samplingFlags) setDefaultTerm() cmi.Options {
	f.term = cmi.Defaults()
	f.weight, f.estimate = string(f.term.Weighting), string(f.term.Estimator)
	return f.term
}

// options are the sampler's options for a method, with or without the
// information term.
func (f *samplingFlags) options(model prior.Model, task, method string, withCMI bool) (sdk.Options, error) {
	if f.steps == 1 {
		return sdk.Options{}, fmt.Errorf("--steps is 1, which would start at timestep 0, where the model takes pure noise for a clean image: at least 2 are wanted, and 20 or more for a good picture")
	}
	betas, err := diffusion.Betas(f.schedule, model.Steps())
	if err != nil {
		return sdk.Options{}, err
	}
	schedule, err := diffusion.New(betas, f.steps)
	if err != nil {
		return sdk.Options{}, err
	}
	o := sdk.Options{Schedule: schedule, Seed: f.seed, Variance: sdk.VarianceOf(model)}
	switch {
	case math.IsNaN(f.ddim) || math.IsInf(f.ddim, 0) || f.ddim > 1:
		return o, fmt.Errorf("--ddim is %v, 0 to 1 is wanted, or a negative number for DDPM's chain", f.ddim)
	case !(f.scale >= 0) || math.IsInf(f.scale, 0):
		return o, fmt.Errorf("--scale is %v, a positive number is wanted, or 0 for the published one", f.scale)
	case math.IsNaN(f.curvature) || math.IsInf(f.curvature, 0):
		return o, fmt.Errorf("--curvature is %v, a finite number is wanted", f.curvature)
	}
	if f.ddim >= 0 {
		o.DDIM = &f.ddim
	}
	make, ok := guide.Named[method]
	if !ok {
		return o, fmt.Errorf("unknown method %q: known are %v", method, keys(guide.Named))
	}
	o.Method = make(guide.Settings{Task: task, Steps: f.steps, Scale: f.scale, Lanczos: f.term.Lanczos, Limit: f.limitDPS, GuidedMean: f.guidedMean, Curvature: f.curvatureTerm()})
	if f.ddim < 0 {
		o.DDIM = guide.PublishedDDIM(o.Method)
	}
	if err := guide.Validate(o.Method, o.DDIM); err != nil {
		return o, err
	}
	if withCMI {
		term := f.term
		term.Weighting, term.Estimator = cmi.Weighting(f.weight), cmi.Estimator(f.estimate)
		if err := term.Validate(); err != nil {
			return o, err
		}
		o.CMI = &term
	}
	return o, nil
}

// noisy says whether --sigma-y is a measurement's noise.
func (f *samplingFlags) noisy() error {
	if !(f.sigmaY > 0) || math.IsInf(f.sigmaY, 0) {
		return fmt.Errorf("--sigma-y is %v, a positive number is wanted (0.05 in the paper), for a measurement without noise a small one such as 0.005", f.sigmaY)
	}
	return nil
}

// passes is how many network passes a run will take.
func passes(o sdk.Options) int {
	method, term := sdk.Passes(o)
	return method + term
}

// curvatureTerm is the innovation curvature, guarded as the information term is.
func (f *samplingFlags) curvatureTerm() guide.Curvature {
	return guide.Curvature{Weight: f.curvature, MinAlphaBar: f.term.MinAlphaBar, TrustGuidance: f.term.TrustGuidance}
}
