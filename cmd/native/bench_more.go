package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// benchInStep times a number of rounds for each line that comes in, so that another
// program can time something else between them on a machine that is otherwise idle.
func benchInStep(ctx context.Context, in io.Reader, out io.Writer, items []*benchItem, rounds int) error {
	encoder := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if err := timeRounds(ctx, items, rounds, nil); err != nil {
			return err
		}
		seconds := map[string][]float64{}
		for _, i := range items {
			seconds[i.key] = i.Seconds
		}
		if err := encoder.Encode(seconds); err != nil {
			return err
		}
	}
	return nil
}

// benchMemory prints the peak after two steps of each kind, the smaller first: the
// device's, where it counts its own, else the process's.
func benchMemory(c *cobra.Command, device compute.Device, items []*benchItem) error {
	const steps = 2
	bar := newProgress(c.ErrOrStderr(), 2*steps)
	for _, i := range items {
		if i.key != "DPS" && i.key != "CMI" {
			continue
		}
		for range steps {
			if err := c.Context().Err(); err != nil {
				return err
			}
			if err := i.run(); err != nil {
				return err
			}
			bar.run(i.Name)(1)
		}
		var peak int64
		if counts, ok := device.(interface{ Memory() (used, peak int64) }); ok {
			_, peak = counts.Memory()
		} else {
			var err error
			if peak, err = peakMemory(); err != nil {
				return err
			}
		}
		bar.clear()
		fmt.Fprintf(c.OutOrStdout(), "%s: %.2f GB\n", i.Name, float64(peak)/1e9)
	}
	return nil
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peakMemory returns the most bytes of memory that this process has held.
func peakMemory() (int64, error) {
	const file = "/proc/self/status"
	status, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("peak memory is known on Linux only: %w", err)
	}
	found := peakLine.FindSubmatch(status)
	if found == nil {
		return 0, fmt.Errorf("%s has no VmHWM, the peak of memory", file)
	}
	kB, err := strconv.ParseInt(string(found[1]), 10, 64)
	return kB * 1024, err
}
