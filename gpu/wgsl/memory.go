package wgsl

import (
	"fmt"
	"math/bits"
	"slices"

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

// acquire returns a block of at least so many bytes, its contents unspecified.
func (d *Device) acquire(bytes int) (*block, error) {
	b, err := d.block(bytes)
	if err == nil {
		d.poison(b)
	}
	return b, err
}

// poison fills a block with NaN where [compute.Poison] says so.
func (d *Device) poison(b *block) {
	if d.poisons {
		d.immediate.flush()
		d.gpu.WriteBuffer(b.id, 0, bytesOf(slices.Repeat([]float32{compute.Unwritten}, b.bytes/4)))
	}
}

// block takes a block of at least so many bytes from the pool or the driver.
func (d *Device) block(bytes int) (*block, error) {
	most := min(d.limits.MaxBinding, d.limits.MaxBuffer)
	if bytes > most {
		return nil, fmt.Errorf("webgpu: an array of %s, the adapter's take at most %s: %w",
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
		return nil, fmt.Errorf("webgpu: an array of %s beside %s, the device may take %s: %w",
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

// mebibytes returns a size for people.
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

// free returns the bytes that arrays may still take, whose blocks are up to an eighth
// larger; 0 where that is unknown.
func (d *Device) free() int64 {
	m := &d.memory
	if m.most == 0 {
		return 0
	}
	free := m.most - m.used + m.pooled
	for _, b := range d.scratch {
		if b != nil {
			free += int64(b.bytes)
		}
	}
	return max(1, free/9*8)
}

// ConvMemory implements [compute.Reserver].
func (d *Device) ConvMemory(prepared compute.Weights, images, height, width int, adjoint bool) (lasting, scratch int64) {
	w, ok := prepared.(*weights)
	if !ok {
		return 0, 0
	}
	inputs, outputs, way := w.shape.In, w.shape.Out, 0
	if adjoint {
		inputs, outputs, way = outputs, inputs, 1
	}
	each, taps := 16*ceil(outputs, 8)*2*inputs, w.shape.Kernel*w.shape.Kernel
	if w.direct[way] == nil {
		lasting = int64(each * taps)
	}
	switch {
	case d.precision == F16:
		return lasting, 4 * int64(images*mostPeaks)
	case w.shape.Kernel == 1:
		return lasting, 0
	}
	kind := d.winogradFor(inputs, outputs, height, width)
	if kind < 0 {
		padded := inputs * (height + 6) * (width + 6)
		return lasting, 4 * int64(padded*max(1, min(images, stageFloats/padded)))
	}
	s := schemes[kind]
	points := s.points * s.points
	if w.tiled[kind][way] == nil {
		lasting += int64(each * points)
	}
	tiles := min(images*ceil(height, s.size)*ceil(width, s.size), max(1, d.staged/(points*max(inputs, outputs))))
	return lasting, 4 * int64(points*(inputs+outputs)*tiles)
}

// Memory returns the bytes of the device's memory in use and the most that ever were,
// prepared weights, scratch and pooled blocks included.
func (d *Device) Memory() (used, peak int64) { return d.memory.used, d.memory.peak }

// scratches is the number of blocks for intermediate results, see scratched.
const scratches = 6

// scratched is memory for intermediate results of one kernel's dispatches, its
// contents unspecified. It is nil after a failure.
func (d *Device) scratched(slot, floats int) *block {
	b := d.scratch[slot]
	if b != nil && b.bytes >= 4*floats {
		d.poison(b)
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
