//go:build js

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"syscall/js"
	"time"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// bench(work, batch, rounds, warmup) times the model on numbers of its own.
func bench(ctx context.Context, e *engine, args []js.Value) (any, error) {
	m, err := e.loaded()
	if err != nil {
		return nil, err
	}
	work, batch, rounds, warmup := args[0].String(), args[1].Int(), args[2].Int(), args[3].Int()
	if batch < 1 || rounds < 1 || warmup < 0 {
		return nil, badInput{fmt.Errorf("a batch of %d, %d rounds and %d before: numbers from 1, 1 and 0 are wanted", batch, rounds, warmup)}
	}
	c, h, w := m.Image()
	ws := compute.NewWorkspace(e.dev)
	defer ws.Free()
	values := make([]float32, batch*m.Config().OutChannels*h*w)
	for i := range values {
		values[i] = float32(math.Sin(float64(i) * 1.7)) // any dense values will do
	}
	x := ws.FromHost(values[:batch*c*h*w], batch, c, h, w)
	u := ws.FromHost(values, batch, m.Config().OutChannels, h, w)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	t := slices.Repeat([]int{300}, batch)
	run := func() error {
		at, err := m.At(x, t)
		if err == nil && work == "step" { // a step's passes: the value and its gradient
			_, err = at.VJP(u)
		}
		if err != nil {
			return err
		}
		return e.dev.Sync()
	}
	if work != "forward" && work != "step" {
		return nil, badInput{fmt.Errorf("unknown work %q: forward or step", work)}
	}
	seconds := []any{}
	for i := range warmup + rounds {
		e.host.breathe()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := run(); err != nil {
			return nil, err
		}
		if i >= warmup {
			seconds = append(seconds, time.Since(start).Seconds())
		}
	}
	return map[string]any{"seconds": seconds}, nil
}
