// Package cpu is the compute device of the processor: multi-threaded, with
// vector micro-kernels where the processor has them. It is the reference that
// the other devices are compared with.
//
// Results do not depend on the number of threads: a sum is never split between
// threads.
package cpu

import (
	"fmt"
	"os"
	"runtime"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Device computes on the processor. Kernels run at once, in the caller's
// goroutine and its helpers, so that Sync never waits.
type Device struct {
	compute.Guard
	k       *kernels
	pool    *pool
	stage   []float32 // packed operands that all threads read
	index   []int     // positions that all threads read
	partial []float64 // sums of pieces
	// tileFrom is the least size of a convolution in tiles, see winograd.go.
	tileFrom [len(schemes)]int

	// The call that is running: what its tasks read.
	batched   batched
	spanned   spanned
	norm      normCall
	pointwise pointwiseCall
	mapped    mapCall
	resample  resampleCall
	conv      convolution
	tiles     tiling
	attention attentionCall
}

var (
	_ compute.Device   = (*Device)(nil)
	_ compute.Reserver = (*Device)(nil)
)

// New returns a device with that number of threads, 0 for one for each processor, and the best
// kernels that the processor can run. The environment variable CMI_CPU
// (generic, avx2, avx512 or neon) chooses others where they can be had; [Open] says
// why they can't.
func New(threads int) *Device { return newDevice(threads, choose()) }

// Open is [New] that fails where CMI_CPU names kernels that are unknown or that
// this processor can't run, or CMI_WINOGRAD is neither on nor off.
func Open(threads int) (*Device, error) {
	if _, err := compute.Switch("CMI_WINOGRAD"); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if _, err := compute.Poison(); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if _, err := named(os.Getenv("CMI_CPU")); err != nil {
		return nil, err
	}
	return New(threads), nil
}

// choose returns the named set of kernels, or the best.
func choose() *kernels {
	if k, err := named(os.Getenv("CMI_CPU")); err == nil {
		return k
	}
	return available()[0]
}

// named finds kernels by name, the best for an empty name.
func named(name string) (*kernels, error) {
	all := available()
	names := make([]string, len(all))
	for i, k := range all {
		if name == "" || name == k.name {
			return k, nil
		}
		names[i] = k.name
	}
	return nil, fmt.Errorf("cpu: CMI_CPU=%s: this processor (%s) has %v; unset it to use the best", name, runtime.GOARCH, names)
}

func newDevice(threads int, k *kernels) *Device {
	if threads <= 0 {
		threads = min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	}
	d := &Device{Guard: compute.NewGuard("cpu", owns), k: k, pool: newPool(threads), tileFrom: sizes()}
	runtime.AddCleanup(d, (*pool).close, d.pool) // a forgotten device's threads end too
	return d
}

// Info implements [compute.Device].
func (d *Device) Info() compute.Info {
	return compute.Info{
		Name:        "cpu",
		Description: fmt.Sprintf("%s %s kernels, %d threads", runtime.GOARCH, d.k.name, len(d.pool.workers)),
		Arithmetic:  fmt.Sprintf("%s %s kernels", runtime.GOARCH, d.k.name),
		Memory:      compute.HostMemory(),
	}
}

// Close ends the device's threads. The device can't be used afterwards.
func (d *Device) Close() error {
	d.pool.close()
	d.stage = nil
	return d.Err()
}

// buffer is an array in memory; data is nil once freed.
type buffer struct{ data []float32 }

// Len implements [compute.Buffer].
func (b *buffer) Len() int { return len(b.data) }

func owns(b compute.Buffer) bool {
	a, ok := b.(*buffer)
	return ok && a.data != nil
}

// maxFloats bounds one array: 64 GiB where int has 64 bits.
const maxFloats = 1 << (24 + 10*(^uint(0)>>63))

// Alloc implements [compute.Memory].
func (d *Device) Alloc(floats int) (compute.Buffer, error) {
	if err := d.AllocFits(floats, maxFloats); err != nil {
		return nil, err
	}
	const large = 1 << 26
	if floats > large { // Go ends the process when there is too little
		if free := compute.HostMemory(); free > 0 && 4*int64(floats) > free {
			return nil, fmt.Errorf("cpu: an array of %d MiB, %d MiB are free: %w", 4*int64(floats)>>20, free>>20, compute.ErrMemory)
		}
	}
	b := &buffer{make([]float32, floats)}
	d.pool.poison(b.data)
	return b, nil
}

// Free implements [compute.Memory].
func (d *Device) Free(b compute.Buffer) {
	if b, ok := b.(*buffer); ok {
		b.data = nil
	}
}

// Write implements [compute.Memory].
func (d *Device) Write(dst compute.Tensor, src []float32) {
	if !d.WriteFits(dst, src) {
		return
	}
	for n := range dst.N {
		copy(image(dst, n), src[n*dst.Len():])
	}
}

// Read implements [compute.Memory].
func (d *Device) Read(dst []float32, src compute.Tensor) error {
	if !d.ReadFits(dst, src) {
		return d.Err()
	}
	for n := range src.N {
		copy(dst[n*src.Len():], image(src, n))
	}
	return nil
}

// Sync implements [compute.Memory].
func (d *Device) Sync() error { return d.Err() }

// image returns the values of image n, repeated beyond the last.
func image(t compute.Tensor, n int) []float32 {
	from := t.Off + n%t.N*t.Pitch
	return t.Buf.(*buffer).data[from : from+t.Len() : from+t.Len()]
}

// staged is scratch that all threads may read, its contents unspecified.
func (d *Device) staged(floats int) []float32 {
	if cap(d.stage) < floats {
		d.stage = make([]float32, floats)
	}
	d.pool.poison(d.stage[:floats])
	return d.stage[:floats]
}

func ceil(n, of int) int { return (n + of - 1) / of }
