package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gonum.org/v1/gonum/stat"

	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/referee"
)

// tables by their numbers on the command line.
var tables = map[int]func() referee.Table{1: referee.Weights, 2: referee.Depths, 3: referee.Curvature, 4: referee.Particles}

// mostDrawn bounds problems and samples: sampling that many takes a third of a gigabyte.
const mostDrawn = 100_000

func mixtureCommand() *cobra.Command {
	var number, problems, samples int
	var seed uint64
	var device string
	c := &cobra.Command{
		Use:   "mixture",
		Short: "Judge methods on Gaussian mixtures, where the posterior is known",
		Long: `mixture draws random Gaussian mixtures and measurements, for which the score and the posterior are
exact, samples them with several methods, and prints the sliced Wasserstein distance to exact
posterior samples and the mean squared error against the true point. Lower is better. The change
of the distance is against the first row of the same method, paired over the problems, with its
95 % bootstrap interval.

  --table 1   weights of the information term on DPS, ΠGDM and exact-covariance guidance
  --table 2   depth K of the Lanczos solver, on DPS
  --table 3   the innovation curvature and the information term
  --table 4   particles, on ΠGDM, exact-covariance guidance and DPS, beside exact samples and pathwise;
              with the effective sample size of the last step, and the estimate of log p(y) less
              log p(y): the mean over the problems and its standard error`,
		Example: `  cmi-native mixture
  cmi-native mixture --table 3
  cmi-native mixture --table 4
  cmi-native mixture --table 2 --problems 24 --seed 100`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			table, ok := tables[number]
			if !ok {
				return fmt.Errorf("there is no --table %d: 1 to 4 are known", number)
			}
			t := table()
			t.Seed = seed
			for _, n := range []struct {
				flag  string
				given int
				of    *int
			}{{"problems", problems, &t.Problems}, {"samples", samples, &t.Samples}} {
				if n.given < 0 || n.given == 1 || n.given > mostDrawn {
					return fmt.Errorf("--%s is %d, 2 to %d are possible, or 0 for the table's %d", n.flag, n.given, mostDrawn, *n.of)
				}
				if n.given > 0 {
					*n.of = n.given
				}
			}
			dev, err := openDevice(c.Context(), device)
			if err != nil {
				return err
			}
			defer dev.Close()
			bar := newProgress(c.ErrOrStderr(), len(t.Arms)*t.Problems)
			verdicts, err := referee.Judge(c.Context(), dev, t.Setting, t.Arms, func(_, problem int) {
				bar.run(fmt.Sprintf("problem %d", problem+1))(1)
			})
			if err != nil {
				return failed(err)
			}
			bar.finish()
			return printVerdicts(c.OutOrStdout(), t, verdicts)
		},
	}
	fl := c.Flags()
	fl.IntVar(&number, "table", 2, "which comparison")
	fl.IntVar(&problems, "problems", 0, "random problems; 0 takes the table's own number")
	fl.IntVar(&samples, "samples", 0, "samples drawn of each posterior; 0 takes the table's own number")
	fl.Uint64Var(&seed, "seed", 1, "seed of the first problem; the others follow")
	fl.StringVar(&device, "device", "cpu", "where to compute")
	return c
}

func printVerdicts(out io.Writer, table referee.Table, verdicts []referee.Verdict) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	particles := slices.ContainsFunc(verdicts, func(v referee.Verdict) bool { return v.ESS != nil })
	more := ""
	if particles {
		more = "\tESS\tlog evidence"
	}
	fmt.Fprintf(t, "%s\tsliced Wasserstein\tmean squared error\tchange of the distance (95 %% interval)%s\n", table.Title, more)
	var base referee.Verdict
	for i, v := range verdicts {
		change := ""
		if i == 0 || !strings.HasPrefix(v.Name, base.Name+" ") && v.CMI == nil && v.Particles == 0 {
			base = v
		} else {
			d, lo, hi, err := metric.PairedBootstrap(v.Distance, base.Distance, 2000, table.Seed)
			if err != nil {
				return failed(err)
			}
			change = fmt.Sprintf("%+.0f %%  %+.3f (%+.3f … %+.3f)", 100*(referee.Mean(v.Distance)/referee.Mean(base.Distance)-1), d, lo, hi)
		}
		if more = ""; v.ESS != nil {
			mean, deviation := stat.MeanStdDev(v.LogEvidence, nil)
			more = fmt.Sprintf("\t%.1f\t%+.2f ± %.2f", referee.Mean(v.ESS), mean, deviation/math.Sqrt(float64(len(v.LogEvidence))))
		} else if particles {
			more = "\t\t"
		}
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%s%s\n", v.Name, referee.Mean(v.Distance), referee.Mean(v.SquaredError), change, more)
	}
	return t.Flush()
}
