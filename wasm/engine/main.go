//go:build js

// The engine is the program behind the npm package: it restores images on one
// device, at the call of JavaScript. The page gives it a device and gets its
// functions; see wasm/npm/src/go.ts and engine.ts for the other side.
package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"syscall/js"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/browser"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// engine is one device and the prior on it. Calls come in any number and are
// worked off one after the other.
type engine struct {
	host  host
	mu    sync.Mutex
	dev   compute.Device
	model *model // nil until one is loaded
}

// functions are what JavaScript can call. The last argument of each is the call's
// token.
var functions = map[string]func(ctx context.Context, e *engine, args []js.Value) (any, error){
	"loadModel": loadModel,
	"measure":   measureOnly,
	"plan":      plan,
	"restore":   restore,
	"bench":     bench,
}

// memoryLimit is where the collector works harder: the program can't have more than
// 4 GiB, and without a limit its heap may grow to twice what is used.
const memoryLimit = 3 << 30

func main() {
	debug.SetMemoryLimit(memoryLimit)
	e := &engine{host: newHost()}
	program := map[string]any{}
	var err error
	if e.dev, err = e.host.openDevice(); err != nil {
		e.host.start(map[string]any{"failure": failure(err)})
		return
	}
	_, program["verifies"] = functions["verify"]
	program["info"] = about(e.dev)
	for name, f := range functions {
		program[name] = js.FuncOf(func(_ js.Value, args []js.Value) any {
			go e.answer(f, args[0], args[1], args[2:])
			return nil
		})
	}
	e.host.start(program)
	select {}
}

// about returns a device as engine.ts reads it.
func about(d compute.Device) map[string]any {
	info := d.Info()
	return map[string]any{"device": info.Name, "description": info.Description, "software": info.Software}
}

// answer runs a call and resolves or rejects its promise.
func (e *engine) answer(f func(context.Context, *engine, []js.Value) (any, error), resolve, reject js.Value, args []js.Value) {
	defer func() {
		if p := recover(); p != nil {
			reject.Invoke(failure(fmt.Errorf("the program failed: %v", p)))
		}
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	token := args[len(args)-1]
	ctx := &callContext{Context: context.Background(), token: token}
	e.host.breathe() // what is called and aborted at once never starts
	err := ctx.Err()
	var result any
	if err == nil {
		result, err = f(ctx, e, args)
	}
	if err != nil {
		reject.Invoke(failure(err))
		if kept := e.dev.Sync(); kept != nil { // a device that has failed stays failed
			e.host.gone(failure(kept))
		}
		return
	}
	resolve.Invoke(result)
}

// callContext ends when JavaScript has aborted the call.
type callContext struct {
	context.Context
	token js.Value
}

func (c *callContext) Err() error {
	if c.token.Get("aborted").Bool() {
		return context.Canceled
	}
	return nil
}

// badInput and badModel are errors that the caller's data cause.
type (
	badInput struct{ error }
	badModel struct{ error }
)

func (e badInput) Unwrap() error { return e.error }
func (e badModel) Unwrap() error { return e.error }

// failure returns an error as engine.ts reads it.
func failure(err error) map[string]any {
	return map[string]any{"code": code(err), "message": err.Error()}
}

func code(err error) string {
	var input badInput
	var model badModel
	var page *browser.Failure
	switch {
	case errors.Is(err, context.Canceled):
		return "ABORTED"
	case errors.Is(err, compute.ErrLost):
		return "DEVICE_LOST"
	case errors.Is(err, compute.ErrMemory):
		return "OUT_OF_MEMORY"
	case errors.As(err, &input):
		return "BAD_INPUT"
	case errors.As(err, &model):
		return "BAD_MODEL"
	case errors.As(err, &page):
		return page.Code
	}
	return "INTERNAL"
}
