package wgsl

import (
	"unsafe"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// buffer implements [compute.Buffer].
type buffer struct {
	*block
	dev    *Device
	floats int
}

// Len implements [compute.Buffer].
func (b *buffer) Len() int { return b.floats }

func (d *Device) owns(b compute.Buffer) bool {
	a, ok := b.(*buffer)
	return ok && a.dev == d && a.block != nil
}

// mostFloats bounds the arithmetic of sizes.
const mostFloats = 1<<31 - 1

// Alloc implements [compute.Memory].
func (d *Device) Alloc(floats int) (compute.Buffer, error) {
	if err := d.AllocFits(floats, mostFloats); err != nil {
		return nil, err
	}
	if d.Err() != nil {
		return nil, d.Err()
	}
	b, err := d.acquire(4 * floats)
	if err != nil {
		return nil, err
	}
	return &buffer{b, d, floats}, nil
}

// Free implements [compute.Memory].
func (d *Device) Free(b compute.Buffer) {
	if a, ok := b.(*buffer); ok && d.owns(a) {
		d.release(a.block)
		a.block = nil
	}
}

// runs calls each for the dense pieces of a tensor: its offset, and that in a
// dense copy, in values.
func runs(t compute.Tensor, each func(at, dense, values int)) {
	if t.Pitch == t.Len() || t.N == 1 {
		each(t.Off, 0, t.N*t.Len())
		return
	}
	for n := range t.N {
		each(t.Off+n*t.Pitch, n*t.Len(), t.Len())
	}
}

// Write implements [compute.Memory].
func (d *Device) Write(dst compute.Tensor, src []float32) {
	if !d.WriteFits(dst, src) {
		return
	}
	d.stream.flush()
	id := dst.Buf.(*buffer).id
	runs(dst, func(at, dense, values int) {
		d.gpu.WriteBuffer(id, 4*at, bytesOf(src[dense:dense+values]))
	})
}

// Read implements [compute.Memory].
func (d *Device) Read(dst []float32, src compute.Tensor) error {
	if !d.ReadFits(dst, src) {
		return d.Err()
	}
	b, at := src.Buf.(*buffer).block, src.Off
	if src.Pitch != src.Len() && src.N > 1 {
		from := b
		if b, at = d.scratched(0, len(dst)), 0; b == nil {
			return d.Err()
		}
		runs(src, func(at, dense, values int) { d.stream.copy(b, 4*dense, from, 4*at, 4*values) })
	}
	return d.fetch(dst, b, at)
}

// fetch waits and reads values of a block.
func (d *Device) fetch(dst []float32, b *block, at int) error {
	d.stream.flush()
	if d.Err() == nil {
		d.Fail(d.gpu.Read(bytesOf(dst), b.id, 4*at))
	}
	return d.Err()
}

// uploaded returns a block of its own that holds values.
func (d *Device) uploaded(values []float32) (*block, error) {
	b, err := d.acquire(4 * len(values))
	if err == nil && len(values) > 0 {
		d.stream.flush()
		d.gpu.WriteBuffer(b.id, 0, bytesOf(values))
	}
	return b, err
}

// bytesOf returns the memory of values, which WebGPU wants little-endian, as all
// machines are that it runs on.
func bytesOf(values []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}
