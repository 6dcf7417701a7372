package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/job"
)

// manyArguments is no bound on the number of arguments.
const manyArguments = math.MaxInt

// arguments wants from least to most of them, which the command's line of use names.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if n := len(args); n < least || n > most {
			return fmt.Errorf("arguments %q, wanted is: %s", args, c.UseLine())
		}
		return nil
	}
}

// flagValues are what flags want, by the type of their values.
var flagValues = map[string]string{
	"int": "a whole number, as 100,", "uint64": "a whole number from 0, as 1,", "float64": "a number, as 0.05,",
	"bool": "true or false", "choice": cmi.ChoiceNames() + " or off", "intSlice": "a list of whole numbers, as 0,1,",
}

// flagError says what a flag wants whose value can't be read.
func flagError(c *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var none *pflag.ValueRequiredError
	switch {
	case errors.As(err, &value):
		if want, ok := flagValues[value.GetFlag().Value.Type()]; ok {
			return fmt.Errorf("--%s %q: %s is wanted", value.GetFlag().Name, value.GetValue(), want)
		}
	case errors.As(err, &none):
		_, usage := pflag.UnquoteUsage(none.GetFlag())
		return fmt.Errorf("--%s wants a value: %s", none.GetFlag().Name, usage)
	default:
		err = fmt.Errorf("%w: see %s --help", err, c.CommandPath())
	}
	return err
}

// need is what flags have no effect without.
type need struct {
	met   bool
	what  string
	flags []string
}

// effective refuses a flag that was given and would do nothing.
func effective(c *cobra.Command, needs []need) error {
	for _, n := range needs {
		for _, name := range n.flags {
			if flag := c.Flags().Lookup(name); flag != nil && flag.Changed && !n.met {
				return fmt.Errorf("--%s %s would do nothing: it needs %s", name, flag.Value, n.what)
			}
		}
	}
	return nil
}

// located names the flag of a spec's field that is wrong, and where a file that is not
// there was looked for.
func located(err error) error {
	var field *job.FieldError
	if errors.As(err, &field) {
		return fmt.Errorf("%s %s", flagOf(field.Field), field.Problem)
	}
	var file *fs.PathError
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &file) {
		return err
	}
	if here, e := os.Getwd(); e == nil && !filepath.IsAbs(file.Path) {
		return fmt.Errorf("%w: check the name, looked for from %s", err, here)
	}
	return fmt.Errorf("%w: check the name", err)
}
