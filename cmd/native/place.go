package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// addFallback adds the flag of commands that go on when a device is lost.
func (f *modelFlags) addFallback(c *cobra.Command) {
	c.Flags().StringVar(&f.fallback, "fallback", "", "another `DEVICE` to go on with when --device is lost twice in a row, is gone or has not enough memory; a lost one is opened anew in any case")
}

// place opens the prior where work goes on when the device is lost. It says so on
// standard error.
func (f *modelFlags) place(ctx context.Context) (*sdk.Place, error) {
	if f.fallback != "" {
		if _, err := findDevice(f.fallback); err != nil {
			return nil, fmt.Errorf("--fallback: %w", err)
		}
	}
	device := f.device
	return sdk.NewPlace(ctx, func(ctx context.Context, loss sdk.Loss) (prior.Model, func(), error) {
		full := errors.Is(loss.Cause, compute.ErrMemory)
		if f.fallback != "" && f.fallback != device && (full || loss.InARow > 1) {
			device = f.fallback
		} else if full {
			advice := "take a smaller --batch or model"
			if device != "cpu" {
				advice += ", or --fallback cpu"
			}
			return nil, nil, fmt.Errorf("%w: %s", loss.Cause, advice)
		}
		m, close, err := f.openOn(ctx, device)
		if err != nil && loss.Cause != nil && f.fallback != "" && device != f.fallback {
			device = f.fallback
			m, close, err = f.openOn(ctx, device)
		}
		if err != nil {
			return nil, nil, err
		}
		if loss.Cause != nil {
			fmt.Fprintf(f.messages(), "cmi-native: going on from the last step on %s: %v\n", device, loss.Cause)
		}
		return m, close, nil
	})
}
