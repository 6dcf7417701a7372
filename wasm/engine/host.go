//go:build js

package main

import (
	"io"
	"syscall/js"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/browser"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/wasm/simd"
)

// host is the JavaScript that started the program: the object cmiDiffusionHost,
// which is on the global object for a moment only.
type host struct {
	js.Value
	woken chan struct{}
	wake  js.Func
}

func newHost() host {
	h := host{Value: js.Global().Get("cmiDiffusionHost"), woken: make(chan struct{}, 1)}
	h.wake = js.FuncOf(func(js.Value, []js.Value) any {
		h.woken <- struct{}{}
		return nil
	})
	return h
}

// start gives JavaScript the program's functions.
func (h host) start(program map[string]any) { h.Call("start", program) }

// moved tells that the work goes on on another device, and why.
func (h host) moved(info map[string]any, why error) { h.Call("moved", info, why.Error()) }

// gone tells that the engine can't go on, and why.
func (h host) gone(failure map[string]any) { h.Call("gone", failure) }

// breathe lets the page's events be handled: a program returns to JavaScript only
// when all of it waits. Only one goroutine computes at a time, so that the next
// waking is its own.
func (h host) breathe() {
	h.Call("soon", h.wake)
	<-h.woken
}

// openDevice returns the GPU that the page has opened, or the processor.
func (h host) openDevice() (compute.Device, error) {
	if gpu := h.Get("gpu"); gpu.Truthy() {
		precision, err := wgsl.ParsePrecision(gpu.Get("info").Get("precision").String())
		if err != nil {
			return nil, err
		}
		return wgsl.New(browser.New(gpu.Call("again")), wgsl.Options{Precision: precision})
	}
	return simd.New(h.Get("kernels").String(), int64(h.Get("memory").Float()))
}

// reopen has the page open another GPU in place of the one that it has, or leave it
// for the processor.
func (h host) reopen(processor bool) error {
	_, err := browser.Await(h.Call("reopen", processor))
	return err
}

// mayLeaveGPU says whether the page lets work go on on the processor.
func (h host) mayLeaveGPU() bool { return h.Get("gpu").Truthy() && h.Get("fallback").Bool() }

// file reads a Uint8Array that stays the page's.
type file struct{ js.Value }

func (f file) ReadAt(p []byte, from int64) (int, error) {
	if from < 0 || from > int64(f.Length()) {
		return 0, io.EOF
	}
	n := js.CopyBytesToGo(p, f.Call("subarray", from, from+int64(len(p))))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// bytesOf copies a typed array's bytes.
func bytesOf(array js.Value) []byte {
	view := js.Global().Get("Uint8Array").New(array.Get("buffer"), array.Get("byteOffset"), array.Get("byteLength"))
	out := make([]byte, view.Length())
	js.CopyBytesToGo(out, view)
	return out
}

// floatsOf copies a Float32Array.
func floatsOf(array js.Value) []float32 {
	out := make([]float32, array.Length())
	if len(out) > 0 {
		view := js.Global().Get("Uint8Array").New(array.Get("buffer"), array.Get("byteOffset"), array.Get("byteLength"))
		js.CopyBytesToGo(unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), 4*len(out)), view)
	}
	return out
}

// float32Array returns a copy of values for JavaScript.
func float32Array(values []float32) js.Value {
	out := js.Global().Get("Float32Array").New(len(values))
	if len(values) > 0 {
		view := js.Global().Get("Uint8Array").New(out.Get("buffer"))
		js.CopyBytesToJS(view, unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values)))
	}
	return out
}

// uint8Array returns a copy of bytes for JavaScript.
func uint8Array(values []byte) js.Value {
	out := js.Global().Get("Uint8Array").New(len(values))
	js.CopyBytesToJS(out, values)
	return out
}
