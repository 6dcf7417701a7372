package main

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"math"
	"os"
	"strconv"
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

	Samples  int      `json:"samples"`  // of each picture
	Pictures int      `json:"pictures"` // held ones
	Values   int      `json:"values"`   // of the pictures, all together
	Alpha    float64  `json:"alpha"`    // the intervals have probability 1−α
	Factor   float64  `json:"factor"`   // of the intervals
	Before   float64  `json:"before"`   // their coverage of these pictures without it
	Held     []string `json:"held"`     // the pictures: the first 16 digits of their SHA-256
}

// builtInCalibrations is what calibrate has written for the priors that are built in.
//
//go:embed calibrations.json
var builtInCalibrations []byte

// builtInHashes are the SHA-256 of the priors that the program carries.
var builtInHashes = map[string]func() string{"faces64": faces64.Hash, "photos64": photos64.Hash}

// calibrationOf returns a calibration of the run that a manifest tells of, without results: what
// it is looked up by.
func calibrationOf(m manifest) (a calibration, err error) {
	a = calibration{Name: m.Options["prior"], Prior: m.Prior, Task: m.Options["task"], Method: m.Options["method"], Options: map[string]string{}}
	if hash := builtInHashes[m.Prior]; hash != nil {
		a.Prior = hash()
	}
	if a.Steps, err = strconv.Atoi(m.Options["steps"]); err == nil {
		a.SigmaY, err = strconv.ParseFloat(m.Options["sigma-y"], 64)
	}
	usual := restoreCommand().Flags()
	for _, name := range samplerFlags() {
		// a manifest of an earlier version lacks flags that are new: they were at their defaults
		if value, ok := m.Options[name]; ok && value != usual.Lookup(name).DefValue {
			a.Options[name] = value
		}
	}
	return a, err
}

// samplerFlags returns the names of restore's flags that change what is sampled, beside the
// task, the method, the steps and σ_y. The seed changes no distribution.
func samplerFlags() (names []string) {
	var all specFlags
	sampler := &cobra.Command{}
	all.add(sampler, 0)
	all.addGuidance(sampler)
	sampler.Flags().VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "steps" && flag.Name != "sigma-y" && flag.Name != "seed" {
			names = append(names, flag.Name)
		}
	})
	return append(names, "cmi", "noise", "rate", "border")
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

// findCalibration returns that of a run from a file, or one that is built in where no file is
// named. found is false where no file is named and none is built in.
func findCalibration(ctx context.Context, file string, wanted calibration) (one calibration, found bool, err error) {
	text, from := builtInCalibrations, "built-in factors"
	if file != "" {
		from = file
		if text, err = interruptible(ctx, func() ([]byte, error) { return os.ReadFile(file) }); err != nil {
			return one, false, err
		}
	}
	all, err := readCalibrations(text)
	if err != nil {
		return one, false, fmt.Errorf("%s is no calibration: %w; cmi-native calibrate writes one", from, err)
	}
	var there []string
	for _, one := range all {
		if one.is(wanted) {
			return one, true, nil
		}
		text := one.String()
		if one.Prior != wanted.Prior {
			text += " of another prior, " + one.Name
		}
		there = append(there, text)
	}
	if file == "" {
		return one, false, nil
	}
	return one, false, fmt.Errorf("%s has no factor for %s with this prior; it has: %s. Restore as one of them, or let cmi-native calibrate find this one", from, wanted, strings.Join(there, "; "))
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

// factor is by what intervals are scaled, and where that comes from.
type factor struct {
	value float64
	from  string
}

// factor returns that of the intervals of --samples: of --calibration, built in, or 1.
func (f *restoreFlags) factor(c *cobra.Command, made manifest) (factor, error) {
	none := factor{1, "none"}
	if f.samples == 1 || f.calibration == "none" {
		return none, nil
	}
	wanted, err := calibrationOf(made)
	if err != nil {
		return none, err
	}
	one, found, err := findCalibration(c.Context(), f.calibration, wanted)
	switch {
	case err != nil:
		return none, err
	case !found:
		fmt.Fprintf(c.ErrOrStderr(), "note: no factor is built in for %s with this prior: the 90 %% intervals are as the samples give them, and may hold less; cmi-native calibrate finds one\n", wanted)
		return none, nil
	case f.calibration == "":
		return factor{one.Factor, "built in"}, nil
	}
	return factor{one.Factor, f.calibration}, nil
}
