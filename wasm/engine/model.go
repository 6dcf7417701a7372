//go:build js

package main

import (
	"bytes"
	"context"
	"errors"
	"syscall/js"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// loadModel(bytes, config) puts a checkpoint on the device in place of the one
// before; config is JSON or empty.
func loadModel(_ context.Context, e *engine, args []js.Value) (any, error) {
	data := bytesOf(args[0])
	file, err := checkpoint.Read(bytes.NewReader(data), int64(len(data)), "the model")
	if err != nil {
		return nil, badModel{err}
	}
	if e.model != nil {
		e.model.Close()
		e.model = nil
	}
	model, err := unet.Load(e.dev, file, []byte(args[1].String()))
	if err != nil {
		return nil, badModel{err}
	}
	e.model = model
	parameters := 0
	for _, name := range file.Names() {
		t, _ := file.Info(name)
		parameters += t.Len()
	}
	c, h, w := model.Image()
	return map[string]any{
		"channels": c, "height": h, "width": w, "parameters": parameters,
		"learnedVariance": model.LearnedVariance(), "steps": model.Steps(),
	}, e.dev.Sync()
}

// loaded is the model; an error where there is none.
func (e *engine) loaded() (*unet.Model, error) {
	if e.model == nil {
		return nil, badInput{errors.New("no model is loaded: call loadModel first")}
	}
	return e.model, nil
}

// refused is an error as bad input, unless the device has failed.
func (e *engine) refused(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, compute.ErrMemory) || e.dev.Sync() != nil {
		return err
	}
	return badInput{err}
}
