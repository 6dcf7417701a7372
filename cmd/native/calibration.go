package main

import (
	_ "embed"
	"fmt"
	"maps"
	"math"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
	"github.com/cmi-diffusion/cmi/sdk/job"
)

// calibration is what calibrate found for one way to restore pictures. Its file holds a list of them.
type calibration struct {
	Name   string  `json:"name"`  // of the prior, for people
	Prior  string  `json:"prior"` // SHA-256 of its file
	Task   string  `json:"task"`
	Method string  `json:"method"`
	Steps  int     `json:"steps"`
	SigmaY float64 `json:"sigmaY"`
	// Options are the sampler's other flags, where they are not the defaults.
	Options map[string]string `json:"options,omitempty"`

	Pictures int     `json:"pictures"` // held ones
	Samples  int     `json:"samples"`  // of each
	Values   int     `json:"values"`   // of the pictures, all together
	Alpha    float64 `json:"alpha"`    // the intervals have probability 1−α
	Factor   float64 `json:"factor"`   // of the intervals
	Before   float64 `json:"before"`   // their coverage of these pictures without it
}

// builtInCalibrations is what calibrate has written for the priors that are built in.
//
//go:embed calibrations.json
var builtInCalibrations []byte

// builtInHashes are the SHA-256 of the priors that the program carries.
var builtInHashes = map[string]func() string{"faces64": faces64.Hash, "photos64": photos64.Hash}

// priorHash returns the SHA-256 of a prior that a manifest names.
func priorHash(prior string) string {
	if hash := builtInHashes[prior]; hash != nil {
		return hash()
	}
	return prior
}

// what returns a calibration of this run without the results: what it is looked up by.
func (f *restoreFlags) what(c *cobra.Command, prior string) calibration {
	return calibration{Prior: priorHash(prior), Task: f.Task, Method: f.Method, Steps: f.Steps, SigmaY: f.SigmaY, Options: samplerOptions(c)}
}

// is says whether a calibration is of the same prior, task and sampler.
func (a calibration) is(b calibration) bool {
	return a.Prior == b.Prior && a.Task == b.Task && a.Method == b.Method && a.Steps == b.Steps && a.SigmaY == b.SigmaY && maps.Equal(a.Options, b.Options)
}

func (a calibration) String() string {
	text := fmt.Sprintf("%s, %s, %d steps, σ_y %g", a.Task, a.Method, a.Steps, a.SigmaY)
	for _, name := range keys(a.Options) {
		text += fmt.Sprintf(", --%s %s", name, a.Options[name])
	}
	return text
}

// samplerOptions returns a command's flags that change what is sampled beside the method, the
// steps and σ_y, where they are not the defaults. The seed changes no distribution.
func samplerOptions(c *cobra.Command) map[string]string {
	options := map[string]string{}
	add := func(flag *pflag.Flag) {
		if given := c.Flags().Lookup(flag.Name); given != nil && given.Changed && given.Value.String() != given.DefValue {
			options[flag.Name] = given.Value.String()
		}
	}
	var all specFlags
	sampler := &cobra.Command{}
	all.add(sampler, 0)
	all.addGuidance(sampler)
	sampler.Flags().VisitAll(add)
	for _, name := range []string{"steps", "sigma-y", "seed"} {
		delete(options, name)
	}
	for _, name := range []string{"cmi", "noise", "rate", "border"} {
		if flag := c.Flags().Lookup(name); flag != nil {
			add(flag)
		}
	}
	return options
}

// factor is by what intervals are scaled, and where that comes from.
type factor struct {
	value float64
	from  string
}

// factor returns that of the intervals of --samples: of --calibration, built in, or 1.
func (f *restoreFlags) factor(c *cobra.Command, prior string) (factor, error) {
	none := factor{1, "none"}
	if f.samples == 1 || f.calibration == "none" {
		return none, nil
	}
	wanted := f.what(c, prior)
	text, from, err := builtInCalibrations, "built in", error(nil)
	if f.calibration != "" {
		from = f.calibration
		text, err = interruptible(c.Context(), func() ([]byte, error) { return os.ReadFile(f.calibration) })
	}
	if err != nil {
		return none, err
	}
	all, err := readCalibrations(text)
	if err != nil {
		return none, fmt.Errorf("%s is no calibration: %w; calibrate writes one", from, err)
	}
	for _, one := range all {
		if one.is(wanted) {
			return factor{one.Factor, from}, nil
		}
	}
	if f.calibration == "" {
		fmt.Fprintf(c.ErrOrStderr(), "note: no factor is built in for %s with this prior: the 90 %% intervals are as the samples give them, and may hold less; cmi-native calibrate finds one\n", wanted)
		return none, nil
	}
	var there []string
	for _, one := range all {
		text := one.String()
		if one.Prior != wanted.Prior {
			text += " of another prior, " + one.Name
		}
		there = append(there, text)
	}
	return none, fmt.Errorf("%s has no factor for %s with this prior; it has: %s. Restore as one of them, or let calibrate find this one", from, wanted, strings.Join(there, "; "))
}

// readCalibrations reads a file of calibrate.
func readCalibrations(text []byte) (all []calibration, err error) {
	if len(text) > 1<<20 {
		return nil, fmt.Errorf("it has %d bytes, at most 1 MiB are wanted", len(text))
	}
	if err := job.Decode(text, &all); err != nil {
		return nil, err
	}
	for _, one := range all {
		if !(one.Factor > 0) || one.Factor-one.Factor != 0 || math.Abs(one.Alpha-(1-level)) > 1e-9 {
			return nil, fmt.Errorf("the factor for %s is %v for α = %v: a positive number for %.1f is wanted", one, one.Factor, one.Alpha, 1-level)
		}
	}
	return all, nil
}
