//go:build js

// Package simd is the compute device of the processor in a browser: kernels in C
// (folder kernels), compiled to a WebAssembly module of their own with 128-bit
// vectors. The module owns its memory, as a GPU does: arrays and weights live
// there, Go holds addresses, and calls are lists of commands. Where the page may
// share memory, a pool of workers computes on it.
//
// The module's functions are imports of the program, named cmi; the host page (or
// node, see the test's runner) links them.
//
// Results do not depend on the number of threads.
package simd

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Device computes on the module. Kernels are queued and run when a result is asked
// for, in order, in the caller's goroutine.
type Device struct {
	compute.Guard
	info      compute.Info
	limit     int64   // bytes that the module's memory may grow to
	words     []int32 // queued commands
	recording bool
	commands  address // room for queued commands in the module's memory
	partial   buffer  // sums of Dots
	poisons   bool    // arrays are full of NaN when they are handed out, see compute.Poison
}

var (
	_ compute.Device   = (*Device)(nil)
	_ compute.Recorder = (*Device)(nil)
	_ compute.Drawer   = (*Device)(nil)
)

// address is a place in the module's memory; 0 is none.
type address uint32

// queueWords bounds the commands that are queued.
const queueWords = 1 << 14

// New returns the device; description says how many threads the host has started, limit
// how many bytes the module's memory may grow to.
func New(description string, limit int64) (*Device, error) {
	d := &Device{
		Guard: compute.NewGuard("cpu", owns),
		info:  compute.Info{Name: "cpu", Description: description},
		limit: min(limit-own, maxBytes),
	}
	var err error
	if d.poisons, err = compute.Poison(); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if d.poisons {
		copyTo(control, []int32{1})
	}
	d.commands, err = d.allocate(4 * queueWords)
	return d, err
}

// control is the module's struct control, whose first field is poisons.
const control address = 1024

// Info implements [compute.Device].
func (d *Device) Info() compute.Info {
	i := d.info
	i.Memory = max(0, d.limit-int64(heldBytes()))
	return i
}

// Close implements [compute.Device].
func (d *Device) Close() error {
	d.flush()
	freeBytes(d.commands)
	freeBytes(d.partial.at)
	d.commands, d.partial = 0, buffer{}
	return d.Err()
}

// own is room for the module's own, maxBytes what a 32-bit memory holds beside it.
const (
	own      = 1 << 24
	maxBytes = 1<<32 - own
)

// buffer is an array in the module's memory; at is 0 once freed.
type buffer struct {
	at     address
	floats int
}

// Len implements [compute.Buffer].
func (b *buffer) Len() int { return b.floats }

func owns(b compute.Buffer) bool {
	a, ok := b.(*buffer)
	return ok && a.at != 0
}

// allocate is memory of the module.
func (d *Device) allocate(bytes int) (address, error) {
	if bytes <= maxBytes {
		if at := allocBytes(uint32(bytes)); at != 0 {
			if d.poisons {
				d.poison(address(at), bytes)
			}
			return address(at), nil
		}
	}
	return 0, fmt.Errorf("cpu: %d bytes: %w", bytes, compute.ErrMemory)
}

// poison fills an array with NaN.
func (d *Device) poison(at address, bytes int) {
	values := bytes / 4
	nan := slices.Repeat([]float32{compute.Unwritten}, min(values, 1<<16))
	for from := 0; from < values; from += len(nan) {
		copyTo(at+address(4*from), nan[:min(len(nan), values-from)])
	}
}

// Alloc implements [compute.Memory].
func (d *Device) Alloc(floats int) (compute.Buffer, error) {
	if err := d.AllocFits(floats, maxBytes/4); err != nil {
		return nil, err
	}
	at, err := d.allocate(4 * floats)
	if err != nil {
		return nil, err
	}
	return &buffer{at, floats}, nil
}

// Free implements [compute.Memory].
func (d *Device) Free(b compute.Buffer) {
	if b, ok := b.(*buffer); ok && b.at != 0 {
		d.flush()
		freeBytes(b.at)
		b.at, b.floats = 0, 0
	}
}

// Write implements [compute.Memory].
func (d *Device) Write(dst compute.Tensor, src []float32) {
	if !d.WriteFits(dst, src) {
		return
	}
	d.flush()
	for n := range dst.N {
		copyTo(at(dst)+address(4*n*dst.Pitch), src[n*dst.Len():][:dst.Len()])
	}
}

// Read implements [compute.Memory].
func (d *Device) Read(dst []float32, src compute.Tensor) error {
	if !d.ReadFits(dst, src) {
		return d.Err()
	}
	if d.flush(); d.Err() != nil {
		return d.Err()
	}
	for n := range src.N {
		copyFrom(dst[n*src.Len():][:src.Len()], at(src)+address(4*n*src.Pitch))
	}
	return nil
}

// Sync implements [compute.Memory].
func (d *Device) Sync() error {
	d.flush()
	return d.Err()
}

// at is where a tensor's first value lies.
func at(t compute.Tensor) address { return t.Buf.(*buffer).at + address(4*t.Off) }

func copyTo[T float32 | int32](to address, from []T) {
	if len(from) > 0 {
		copyIn(to, unsafe.Pointer(unsafe.SliceData(from)), int32(4*len(from)))
	}
}

func copyFrom(to []float32, from address) {
	if len(to) > 0 {
		copyOut(unsafe.Pointer(unsafe.SliceData(to)), from, int32(4*len(to)))
	}
}
