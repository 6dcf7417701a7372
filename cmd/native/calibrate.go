package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
)

// notForCalibrate are restore's flags that calibrate sets itself, or that would make each picture
// another problem.
var notForCalibrate = []string{"task", "npy", "samples", "calibration", "skip-existing", "force", "json", "measured", "diagnostics", "format", "first-image", "mask", "invert-mask", "kernel", "operator", "range", "help"}

func calibrateCommand() *cobra.Command {
	var tasks []string
	var file string
	var samples int
	c := &cobra.Command{
		Use:   "calibrate FOLDER",
		Short: "Find by what factor the intervals of restore --samples are to be scaled",
		Long: `calibrate degrades and restores every picture of a folder with several samples, as restore --samples
does, and finds the factor by which the 90 % intervals must be scaled so that they hold the truth of 90 %
of the pixels (split conformal prediction). It adds the factor to a file that restore --calibration takes.

The pictures should be such as will be restored, and such that the prior was not trained on. Pixels of
one picture err together, so that a dozen pictures fix the coverage of others to a few percent. The factor
is of one prior, task, method, number of steps and σ_y, and of whatever other flags of the sampler are given.

The samples go to --out, in a folder for each task. The same command goes on there after a stop.`,
		Example: `  cmi-native calibrate faces --task box -o calibration.json
  cmi-native restore face.png --task box --samples 8 --calibration calibration.json
  cmi-native posterior out/box                          # does it hold on other pictures?`,
		Annotations: onStop("finished pictures are kept, the same command goes on from there"),
		Args:        arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return calibrate(c, args[0], tasks, samples, file)
		},
	}
	restoreCommand().Flags().VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(notForCalibrate, flag.Name) {
			c.Flags().AddFlag(flag)
		}
	})
	c.Flags().StringSliceVar(&tasks, "task", []string{"sr4"}, "tasks, a factor for each: "+strings.Join(gridTasks(), ", "))
	c.Flags().IntVar(&samples, "samples", 8, "samples of each picture")
	c.Flags().StringVarP(&file, "calibration", "o", "calibration.json", "`FILE` that the factors are added to")
	return c
}

func calibrate(c *cobra.Command, folder string, tasks []string, samples int, file string) error {
	for _, task := range tasks {
		if known := gridTasks(); !slices.Contains(known, task) {
			return fmt.Errorf("--task is %q, known are %s", task, strings.Join(known, ", "))
		}
	}
	if samples < 2 {
		return fmt.Errorf("--samples is %d, at least 2 are wanted", samples)
	}
	pictures, names, err := pairUp([]string{folder}, false)
	if err != nil {
		return err
	}
	all, err := calibrationsToAddTo(c.Context(), file)
	if err != nil {
		return err
	}
	out := c.Flags().Lookup("out").Value.String()
	for _, task := range tasks {
		dir := filepath.Join(out, task)
		args := []string{"restore", "--task=" + task, "--npy", "--skip-existing", "--calibration=none", fmt.Sprintf("--samples=%d", samples), "--out=" + dir}
		for _, name := range names {
			args = append(args, pictures[0][name])
		}
		given := restoreCommand().Flags()
		c.Flags().Visit(func(flag *pflag.Flag) {
			if given.Lookup(flag.Name) != nil && !slices.Contains(append(notForCalibrate, "out"), flag.Name) {
				value := flag.Value.String()
				if list, ok := flag.Value.(pflag.SliceValue); ok {
					value = strings.Join(list.GetSlice(), ",")
				}
				args = append(args, "--"+flag.Name+"="+value)
			}
		})
		if err := runAnother(c, io.Discard, args); err != nil {
			return err
		}
		found, err := calibrationFrom(c.Context(), dir, names)
		if err != nil {
			return failed(err)
		}
		all = append(slices.DeleteFunc(all, found.is), found)
		if err := saveJSON(file, all); err != nil {
			return failed(err)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: the 90 %% intervals of %d samples hold %.1f %% of %d pictures; factor %.3f\n", found, found.Samples, 100*found.Before, found.Pictures, found.Factor)
	}
	fmt.Fprintln(c.OutOrStdout(), "factors:", file)
	return nil
}

// calibrationsToAddTo returns those that a file has already.
func calibrationsToAddTo(ctx context.Context, file string) (all []calibration, err error) {
	text, err := interruptible(ctx, func() ([]byte, error) { return os.ReadFile(file) })
	if errors.Is(err, os.ErrNotExist) {
		return nil, writable(filepath.Dir(file))
	}
	if err != nil {
		return nil, err
	}
	if all, err = readCalibrations(text); err != nil {
		return nil, fmt.Errorf("%s is there and no calibration to add to: %w; name another file", file, err)
	}
	return all, nil
}

// calibrationFrom returns the factor of pictures of a folder of restore --samples.
func calibrationFrom(ctx context.Context, dir string, names []string) (one calibration, err error) {
	var scores []float64
	for i, name := range names {
		s, err := openSampled(ctx, dir, name)
		if err != nil {
			return one, err
		}
		of, err := calibrationOf(s.made)
		if err != nil {
			return one, err
		}
		if i == 0 {
			one = of
			one.Samples, one.Pictures = s.estimate.N, len(names)
		}
		these, _, err := s.scores(level)
		if err != nil {
			return one, err
		}
		scores = append(scores, these...)
		one.Held = append(one.Held, heldMark(s.made))
	}
	one.Alpha = 0.1
	one.Values, one.Before = len(scores), certainty.Coverage(scores, 1)
	one.Factor, err = certainty.Factor(scores, one.Alpha)
	return one, err
}

// heldMark tells a calibration's pictures from others: the first digits of the file's hash.
func heldMark(m manifest) string { return m.InputIs[:min(16, len(m.InputIs))] }
