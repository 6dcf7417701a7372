// Package faulty is a WebGPU driver that fails on purpose, to test what stands
// above it.
package faulty

import (
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// GPU passes calls on to another driver until its fault.
type GPU struct {
	webgpu.GPU
	fault Fault
	calls int
	err   error // from the fault on
}

// Fault is a failure in a call of the driver. Like a driver's own it is returned by
// that call, or by the next one that can return an error, and nothing succeeds after
// it; only a buffer that finds no memory leaves the driver whole.
type Fault struct {
	Call int // number of the call that fails, from 0
	Kind error
}

// New returns a driver with a fault.
func New(g webgpu.GPU, f Fault) *GPU { return &GPU{GPU: g, fault: f} }

// Calls returns the number of calls so far, of all but Info, Close and the release of
// buffers and bind groups.
func (g *GPU) Calls() int { return g.calls }

// fails counts a call, and says whether it is the one that fails, or comes after it.
func (g *GPU) fails(name string) bool {
	if g.calls == g.fault.Call && g.err == nil {
		g.err = fmt.Errorf("%s, call %d: %w", name, g.calls, g.fault.Kind)
	}
	g.calls++
	return g.err != nil
}

func (g *GPU) CreateBuffer(bytes int, use webgpu.Usage) (webgpu.Buffer, error) {
	if first := g.err == nil; g.fails("a new buffer") {
		err := g.err
		if first && errors.Is(err, compute.ErrMemory) {
			g.err = nil
		}
		return 0, err
	}
	return g.GPU.CreateBuffer(bytes, use)
}

func (g *GPU) WriteBuffer(b webgpu.Buffer, offset int, data []byte) {
	if !g.fails("a write") {
		g.GPU.WriteBuffer(b, offset, data)
	}
}

func (g *GPU) CreatePipeline(label, wgsl, entry string, bindings []webgpu.Binding) (webgpu.Pipeline, error) {
	if g.fails("shader " + label) {
		return 0, g.err
	}
	return g.GPU.CreatePipeline(label, wgsl, entry, bindings)
}

func (g *GPU) CreateBindGroup(p webgpu.Pipeline, ranges []webgpu.Range) (webgpu.BindGroup, error) {
	if g.fails("a bind group") {
		return 0, g.err
	}
	return g.GPU.CreateBindGroup(p, ranges)
}

func (g *GPU) Submit(commands []int32) {
	if !g.fails("a submit") {
		g.GPU.Submit(commands)
	}
}

// Read also spoils what it was to read: nobody may look at it.
func (g *GPU) Read(dst []byte, b webgpu.Buffer, offset int) error {
	if g.fails("a read") {
		for i := range dst {
			dst[i] = 0x5a
		}
		return g.err
	}
	return g.GPU.Read(dst, b, offset)
}

func (g *GPU) Wait() error {
	if g.fails("a wait") {
		return g.err
	}
	return g.GPU.Wait()
}

func (g *GPU) DestroyBuffer(b webgpu.Buffer) {
	if g.err == nil {
		g.GPU.DestroyBuffer(b)
	}
}

func (g *GPU) DestroyBindGroup(b webgpu.BindGroup) {
	if g.err == nil {
		g.GPU.DestroyBindGroup(b)
	}
}
