package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

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
		if _, _, err := findDevice(f.fallback); err != nil {
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

// addGPUs adds the flag of commands whose images several GPUs can share.
func (f *modelFlags) addGPUs(c *cobra.Command) {
	c.Flags().IntSliceVar(&f.gpus, "gpus", nil, "numbers of GPUs that share the images, as in --device cuda --gpus 0,1; an image does not depend on them")
}

// places opens a place on each of --gpus, or the one of --device without.
func (f *modelFlags) places(ctx context.Context) (all []*sdk.Place, err error) {
	names := []string{f.device}
	if len(f.gpus) > 0 {
		kind, options, err := findDevice(f.device)
		if err != nil {
			return nil, err
		}
		if kind.count == nil {
			return nil, fmt.Errorf("--gpus %v needs a device with numbers, as --device cuda; --device is %s", f.gpus, f.device)
		}
		for _, o := range options {
			if _, err := strconv.Atoi(o); err == nil {
				return nil, fmt.Errorf("--device %s and --gpus %v both number GPUs: leave one out", f.device, f.gpus)
			}
		}
		names = nil
		seen := map[int]bool{}
		for _, n := range f.gpus {
			if n < 0 || seen[n] {
				return nil, fmt.Errorf("--gpus %v: different numbers from 0 are wanted", f.gpus)
			}
			seen[n] = true
			names = append(names, fmt.Sprintf("%s:%d", f.device, n))
		}
	}
	for _, name := range names {
		one := *f
		one.device = name
		place, err := one.place(ctx)
		if err != nil {
			closePlaces(all)
			return nil, err
		}
		all = append(all, place)
	}
	return all, nil
}

func closePlaces(all []*sdk.Place) {
	for _, p := range all {
		p.Close()
	}
}

// share calls work for 0 … n−1, one after the other on each place: number k on place
// k mod len(places), whatever takes longest. The first failure stops the others within
// a step.
func share(ctx context.Context, places []*sdk.Place, n int, work func(ctx context.Context, lane, k int) error) error {
	lanes, ctx := errgroup.WithContext(ctx)
	for lane := range places {
		lanes.Go(func() error {
			for k := lane; k < n; k += len(places) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := work(ctx, lane, k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return lanes.Wait()
}
