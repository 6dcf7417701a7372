package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

func verifyCommand() *cobra.Command {
	var names, folder string
	var o golden.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check devices against a float64 oracle and against golden vectors",
		Long: `verify runs the conformance suite: every kernel of a device on odd shapes and views, with guard
words and poisoned outputs, against a float64 oracle; adjoint identities; tangents and second
coefficients against extrapolated float64 differences, of kernels and of a whole network. With
--golden it also checks a folder of vectors made by the reference implementation (networks,
schedules, operators, the information term, trajectories of methods, metrics).

The error is ‖got − ref‖/‖ref‖. A device that rounds the factors of convolutions further than to float32
(cuda in TF32 or bf16, webgpu:f16) has wider bounds for them and for networks, in units of that rounding. The last line counts the cases; the exit code is 1 if one fails.`,
		Example: `  cmi-native verify
  cmi-native verify --golden testdata/golden
  cmi-native verify --golden testdata/golden --full      # 256 px networks: 5 GB of memory, minutes
  cmi-native verify --device cpu --json`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			var cases []computetest.Case
			if folder != "" {
				if _, err := os.Stat(folder); err != nil {
					return fmt.Errorf("--golden: %w", err)
				}
				var err error
				if cases, err = golden.Cases(os.DirFS(folder), o); err != nil {
					return fmt.Errorf("--golden %s: %w", folder, err)
				}
			} else if o.Full {
				return errors.New("--full needs --golden DIR with a folder full/ in it")
			}
			for _, name := range strings.Split(names, ",") {
				if _, _, err := findDevice(name); err != nil {
					return err
				}
			}
			failures := 0
			for _, name := range strings.Split(names, ",") {
				dev, err := openDevice(c.Context(), name)
				if err != nil {
					return err
				}
				reopen := func() (compute.Device, error) { return openDevice(c.Context(), name) }
				all := append(append(computetest.Ops(o.Quick), computetest.Errors(reopen)...), computetest.Networks(o.Quick)...)
				n, err := verifyDevice(c, dev, computetest.Rounded(append(all, cases...), dev.Info()), asJSON)
				failures += n
				if err = errors.Join(err, dev.Close()); err != nil {
					return failed(err)
				}
			}
			if failures > 0 {
				return failed(fmt.Errorf("%d cases failed", failures))
			}
			return nil
		},
	}
	c.Flags().StringVar(&names, "device", "cpu", "devices to check, separated by commas: "+strings.Join(keys(devices), ", "))
	c.Flags().StringVar(&folder, "golden", "", "`DIR` with golden vectors, laid out like testdata/golden")
	c.Flags().BoolVar(&o.Quick, "quick", false, "about a tenth of the work, for slow devices")
	c.Flags().BoolVar(&o.Full, "full", false, "also the released networks' sizes at 256 px (gigabytes of memory, minutes)")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a case")
	return c
}

// row is a case as printed with --json.
type row struct {
	Device  string   `json:"device"`
	Group   string   `json:"group"`
	Name    string   `json:"name"`
	Status  string   `json:"status"` // pass, FAIL or skip
	Error   *float64 `json:"error,omitempty"`
	Bound   *float64 `json:"bound,omitempty"` // absent where the error is reported only
	Seconds float64  `json:"seconds"`
	Note    string   `json:"note,omitempty"`
}

func verifyDevice(c *cobra.Command, dev compute.Device, cases []computetest.Case, asJSON bool) (failures int, err error) {
	ctx, out, info := c.Context(), c.OutOrStdout(), dev.Info()
	bar := newProgress(c.ErrOrStderr(), len(cases))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintf(out, "%s: %s\n", info.Name, info.Description)
		fmt.Fprintln(table, "STATUS\tERROR\tBOUND\tSECONDS\tCASE")
	}
	lines := 0
	passed, failures, skipped := computetest.Run(ctx, dev, cases, func(r computetest.Result) {
		defer bar.run("verify " + info.Name)(1)
		o := row{Device: info.Name, Group: r.Group, Name: r.Name, Status: "pass", Seconds: r.Duration.Seconds(), Note: cmp.Or(r.Skipped, r.Note)}
		if !math.IsInf(r.Bound, 0) {
			o.Bound = &r.Bound
		}
		if !math.IsNaN(r.Error) && !math.IsInf(r.Error, 0) && r.Skipped == "" {
			o.Error = &r.Error
		}
		switch {
		case r.Skipped != "":
			o.Status = "skip"
		case !r.Passed:
			o.Status = "FAIL"
			if r.Failure != nil {
				o.Note = r.Failure.Error()
			}
		}
		if asJSON {
			bar.clear()
			err = errors.Join(err, json.NewEncoder(out).Encode(o))
			return
		}
		relative := "-"
		if o.Error != nil {
			relative = fmt.Sprintf("%.1e", r.Error)
		} else if o.Status == "FAIL" {
			relative = fmt.Sprint(r.Error)
		}
		note := ""
		if o.Note != "" {
			note = " (" + o.Note + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%.0e\t%.2f\t%s: %s%s\n", o.Status, relative, r.Bound, r.Duration.Round(10*time.Millisecond).Seconds(), r.Group, r.Name, note)
		if lines++; lines%20 == 0 { // show progress, keep columns
			bar.clear()
			table.Flush()
		}
	})
	bar.clear()
	table.Flush()
	if ctx.Err() != nil {
		return failures, ctx.Err()
	}
	if asJSON {
		return failures, err
	}
	_, err = fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failures, skipped)
	return failures, err
}
