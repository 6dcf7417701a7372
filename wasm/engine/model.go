//go:build js

package main

import (
	"context"
	"errors"
	"syscall/js"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/browser"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/pretrained"
)

// model is a checkpoint of the page's, and where its network computes.
type model struct {
	e          *engine
	read       js.Value // gives a promise of the file's bytes, each time it is called
	config     []byte   // JSON or empty
	parameters int
	place      *sdk.Place
	timed      compute.Device // on which a pass takes
	seconds    float64        // of one
}

// loadModel(read, config) puts a checkpoint on the device in place of the one before.
func loadModel(ctx context.Context, e *engine, args []js.Value) (any, error) {
	if e.model != nil {
		e.model.place.Close()
		e.model = nil
	}
	m := &model{e: e, read: args[0], config: []byte(args[1].String())}
	var err error
	if m.place, err = sdk.NewPlace(ctx, m.open); err != nil {
		return nil, err
	}
	e.model = m
	p := m.place.Prior()
	c, h, w := p.Image()
	return map[string]any{
		"channels": c, "height": h, "width": w, "parameters": m.parameters,
		"learnedVariance": p.LearnedVariance(), "steps": p.Steps(),
	}, e.dev.Sync()
}

// open returns the [sdk.Opener] of the model's place.
func (m *model) open(_ context.Context, loss sdk.Loss) (prior.Model, func(), error) {
	if loss.Cause != nil {
		if err := m.e.move(loss); err != nil {
			return nil, nil, err
		}
	}
	data, err := browser.Await(m.read.Invoke())
	if err != nil {
		return nil, nil, err
	}
	from, err := checkpoint.Read(file{data}, int64(data.Length()), "the model")
	if err != nil {
		return nil, nil, badModel{err}
	}
	net, err := pretrained.Load(m.e.dev, from, m.config)
	if err != nil {
		return nil, nil, badModel{err}
	}
	m.parameters = 0
	for _, name := range from.Names() {
		t, _ := from.Info(name)
		m.parameters += t.Len()
	}
	return net, net.Close, nil
}

// loaded is where the model computes; an error where there is none.
func (e *engine) loaded(ctx context.Context) (*sdk.Place, error) {
	m := e.model
	if m == nil {
		return nil, badInput{errors.New("no model is loaded: call loadModel first")}
	}
	var err error
	if m.place.Prior() == nil { // it had not enough memory for the call before
		m.place, err = sdk.NewPlace(ctx, m.open)
	}
	return m.place, err
}

// refused returns an error as bad input, unless it is of another kind or the device has
// failed.
func (e *engine) refused(err error) error {
	if err == nil || code(err) != "INTERNAL" || e.dev.Sync() != nil {
		return err
	}
	return badInput{err}
}
