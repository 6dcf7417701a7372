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
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
)

// bench(work, batch, rounds, warmup, input) times the model on numbers of its own, or on an input that
// every round copies to the device, as it copies the output back; the last output is returned.
func bench(ctx context.Context, e *engine, args []js.Value) (any, error) {
	work, batch, rounds, warmup := args[0].String(), args[1].Int(), args[2].Int(), args[3].Int()
	if batch < 1 || rounds < 1 || warmup < 0 {
		return nil, badInput{fmt.Errorf("a batch of %d, %d rounds and %d before: numbers from 1, 1 and 0 are wanted", batch, rounds, warmup)}
	}
	place, err := e.loaded(ctx)
	if err != nil {
		return nil, err
	}
	m := place.Prior().(*network.Model)
	c, h, w := m.Image()
	ws := compute.NewWorkspace(e.dev)
	defer ws.Free()
	values := make([]float32, batch*m.OutChannels()*h*w)
	for i := range values {
		values[i] = float32(math.Sin(float64(i) * 1.7)) // any dense values will do
	}
	x := ws.FromHost(values[:batch*c*h*w], batch, c, h, w)
	var y compute.Tensor
	u := ws.FromHost(values, batch, m.OutChannels(), h, w)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	t := slices.Repeat([]int{300}, batch)
	run := func() error {
		at, err := m.At(x, t)
		if err == nil {
			y = at.Out()
		}
		if err == nil && work == "step" { // a step's passes: the value and its gradient
			y, err = at.VJP(u)
		}
		if err != nil {
			return err
		}
		return e.dev.Sync()
	}
	switch work {
	case "forward", "step":
	case "conv":
		c, err := newConvolution(e.dev, ws, batch)
		if err != nil {
			return nil, err
		}
		defer c.weights.Free()
		run, x, y = c.run, c.src, c.dst
	default:
		return nil, badInput{fmt.Errorf("unknown work %q: forward, step or conv", work)}
	}
	input := args[4]
	copies := input.Truthy()
	if copies && input.Length() != batch*x.Len() {
		return nil, badInput{fmt.Errorf("an input of %d values: %d are wanted", input.Length(), batch*x.Len())}
	}
	seconds := []any{}
	var output []float32
	for i := range warmup + rounds {
		e.host.breathe()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		if copies {
			e.dev.Write(x, floatsOf(input))
		}
		if err := run(); err != nil {
			return nil, err
		}
		if copies {
			if output, err = compute.ToHost(e.dev, y); err != nil {
				return nil, err
			}
		}
		if i >= warmup {
			seconds = append(seconds, time.Since(start).Seconds())
		}
	}
	return map[string]any{"seconds": seconds, "output": float32Array(output)}, nil
}

// convolution is the one that peers are compared by: 3×3, 128 channels to 128, at 64×64.
type convolution struct {
	dev      compute.Device
	weights  compute.Weights
	dst, src compute.Tensor
}

func newConvolution(dev compute.Device, ws *compute.Workspace, batch int) (*convolution, error) {
	shape := compute.ConvShape{Out: 128, In: 128, Kernel: 3}
	dense := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(math.Sin(float64(i) * 1.7))
		}
		return out
	}
	c := &convolution{dev: dev, dst: ws.New(batch, shape.Out, 64, 64), src: ws.FromHost(dense(batch*shape.In*64*64), batch, shape.In, 64, 64)}
	if err := ws.Err(); err != nil {
		return nil, err
	}
	var err error
	c.weights, err = dev.PrepareConv(shape, dense(shape.Out*shape.In*9), dense(shape.Out))
	return c, err
}

func (c *convolution) run() error {
	c.dev.Conv(c.dst, c.src, c.weights, compute.ConvMode{Bias: true})
	return c.dev.Sync()
}
