package wgsl

import (
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// block is a buffer of the adapter. Blocks come in a few sizes and are pooled.
type block struct {
	id      webgpu.Buffer
	bytes   int
	bound   []binding // bind groups that name it
	scratch bool      // the device's own, its contents short-lived
	kept    int       // recordings that need it
}

// memory counts the blocks of a device.
type memory struct {
	most       int64 // 0: unknown
	used, peak int64 // bytes of all blocks, pooled ones too
	pooled     int64
	pool       map[int][]*block // free blocks by size
}

const (
	leastBlock = 256
	// mostPooled bounds the free blocks that are kept.
	mostPooled = 256 << 20
)

// blockSize rounds up to one of eight sizes an octave.
func blockSize(bytes int) int {
	if bytes <= leastBlock {
		return leastBlock
	}
	step := 1 << max(0, bits.Len(uint(bytes-1))-4)
	return ceil(bytes, step) * step
}

// acquire is a block of at least so many bytes, its contents unspecified.
func (d *Device) acquire(bytes int) (*block, error) {
	most := min(d.limits.MaxBinding, d.limits.MaxBuffer)
	if bytes > most {
		return nil, fmt.Errorf("webgpu: an array of %s, the adapter's take at most %s; try a smaller batch: %w",
			mebibytes(int64(bytes)), mebibytes(int64(most)), compute.ErrMemory)
	}
	size := min(blockSize(bytes), most/16*16)
	m := &d.memory
	if free := m.pool[size]; len(free) > 0 {
		b := free[len(free)-1]
		m.pool[size] = free[:len(free)-1]
		m.pooled -= int64(size)
		return b, nil
	}
	if m.most > 0 && m.used+int64(size) > m.most {
		d.drain(0)
	}
	if m.most > 0 && m.used+int64(size) > m.most {
		return nil, fmt.Errorf("webgpu: an array of %s beside %s, the device may take %s; try a smaller batch: %w",
			mebibytes(int64(size)), mebibytes(m.used), mebibytes(m.most), compute.ErrMemory)
	}
	id, err := d.gpu.CreateBuffer(size, webgpu.Storage)
	if err != nil {
		return nil, fmt.Errorf("webgpu: an array of %s beside %s: %w", mebibytes(int64(size)), mebibytes(m.used), err)
	}
	m.used += int64(size)
	m.peak = max(m.peak, m.used)
	return &block{id: id, bytes: size}, nil
}

// mebibytes is a size for people.
func mebibytes(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

// release puts a block into the pool. Queued kernels may still use it: what uses
// it next is queued behind them.
func (d *Device) release(b *block) {
	m := &d.memory
	m.pool[b.bytes] = append(m.pool[b.bytes], b)
	m.pooled += int64(b.bytes)
	if m.pooled > mostPooled {
		d.drain(mostPooled / 2)
	}
}

// drain destroys free blocks until so many bytes are left.
func (d *Device) drain(most int64) {
	d.stream.flush()
	m := &d.memory
	sizes := make([]int, 0, len(m.pool))
	for size := range m.pool {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	for _, size := range slices.Backward(sizes) {
		for _, b := range m.pool[size] {
			if m.pooled <= most {
				return
			}
			m.pool[size] = m.pool[size][1:]
			m.pooled -= int64(size)
			m.used -= int64(size)
			d.unbind(b)
			d.gpu.DestroyBuffer(b.id)
		}
	}
}

// unbind destroys the bind groups that name a block.
func (d *Device) unbind(b *block) {
	for _, k := range b.bound {
		if g, ok := d.groups[k]; ok {
			d.gpu.DestroyBindGroup(g)
			delete(d.groups, k)
		}
	}
	b.bound = nil
}

// Memory is the bytes of the device's memory in use and the most that ever were,
// prepared weights, scratch and pooled blocks included.
func (d *Device) Memory() (used, peak int64) { return d.memory.used, d.memory.peak }

// scratches is the number of blocks for intermediate results, see scratched.
const scratches = 6

// scratched is memory for intermediate results of one kernel's dispatches, its
// contents unspecified. It is nil after a failure.
func (d *Device) scratched(slot, floats int) *block {
	b := d.scratch[slot]
	if b != nil && b.bytes >= 4*floats {
		return b
	}
	fresh, err := d.acquire(4 * floats)
	if err != nil {
		d.Fail(err)
		return nil
	}
	if b != nil {
		if b.scratch = false; b.kept == 0 {
			d.release(b)
		}
	}
	fresh.scratch = true
	d.scratch[slot] = fresh
	return fresh
}

// uploaded is a block of its own that holds values.
func (d *Device) uploaded(values []float32) (*block, error) {
	b, err := d.acquire(4 * len(values))
	if err == nil && len(values) > 0 {
		d.stream.flush()
		d.gpu.WriteBuffer(b.id, 0, bytesOf(values))
	}
	return b, err
}

// bytesOf is the memory of values, which WebGPU wants little-endian, as all
// machines are that it runs on.
func bytesOf(values []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}

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
