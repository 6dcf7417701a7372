package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/referee"
)

func mixtureCommand() *cobra.Command {
	s := referee.Table2()
	var depths []int
	var device string
	c := &cobra.Command{
		Use:   "mixture",
		Short: "Judge DPS and CMI+DPS on Gaussian mixtures, where the posterior is known",
		Long: `mixture draws random Gaussian mixtures and measurements, for which the score and the posterior are
exact, samples with DPS (ζ = 0.3) and with CMI+DPS (β weighting, η = 1, one probe) at several depths
K of the Lanczos solver, and prints the sliced Wasserstein distance to exact posterior samples and
the mean squared error against the true point. Lower is better. The change against DPS is paired
over the problems, with its 95 % bootstrap interval.`,
		Example: `  cmi-native mixture
  cmi-native mixture --problems 24 --depths 2,3 --seed 100`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if s.Problems < 2 || s.Samples < 2 {
				return fmt.Errorf("--problems %d and --samples %d, at least 2 of each are wanted", s.Problems, s.Samples)
			}
			for _, k := range depths {
				if k < 0 || k > s.Rows {
					return fmt.Errorf("--depths has %d, 0 to --rows %d are possible", k, s.Rows)
				}
			}
			dev, err := openDevice(c.Context(), device)
			if err != nil {
				return err
			}
			defer dev.Close()
			arms := referee.Depths(depths...)
			bar := newProgress(len(arms) * s.Problems)
			verdicts, err := referee.Judge(c.Context(), dev, s, arms, func(a, problem int) {
				bar.run(fmt.Sprintf("problem %d", problem+1))(1)
			})
			if err != nil {
				return failed(err)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "DPS\tsliced Wasserstein\tmean squared error\tdistance less that of no CMI (95 % interval)")
			base := verdicts[0]
			for i, v := range verdicts {
				change := ""
				if i > 0 {
					d, lo, hi, err := metric.PairedBootstrap(v.Distance, base.Distance, 2000, s.Seed)
					if err != nil {
						return failed(err)
					}
					change = fmt.Sprintf("%+.0f %%  %+.3f (%+.3f … %+.3f)", 100*(referee.Mean(v.Distance)/referee.Mean(base.Distance)-1), d, lo, hi)
				}
				fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%s\n", v.Name, referee.Mean(v.Distance), referee.Mean(v.SquaredError), change)
			}
			return t.Flush()
		},
	}
	fl := c.Flags()
	fl.IntVar(&s.Problems, "problems", s.Problems, "random problems")
	fl.IntVar(&s.Samples, "samples", s.Samples, "samples drawn of each posterior")
	fl.IntVar(&s.Components, "components", s.Components, "Gaussians in the mixture")
	fl.IntVar(&s.Dim, "dim", s.Dim, "dimensions")
	fl.IntVar(&s.Rows, "rows", s.Rows, "measurements")
	fl.BoolVar(&s.Orthonormal, "orthonormal", s.Orthonormal, "orthonormal rows")
	fl.Uint64Var(&s.Seed, "seed", s.Seed, "seed of the first problem; the others follow")
	fl.IntSliceVar(&depths, "depths", []int{0, 1, 2, 3, 6}, "Lanczos steps K to compare")
	fl.StringVar(&device, "device", "cpu", "where to compute")
	return c
}
