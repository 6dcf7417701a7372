package cuda

import (
	"fmt"
	"unsafe"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// view is View of device.h.
type view struct {
	at           Ptr
	pitch, count int32
}

// viewOf returns a tensor as kernels see it; the zero tensor is the empty view.
func viewOf(t compute.Tensor) view {
	if t.Buf == nil {
		return view{count: 1}
	}
	return view{image(t, 0), int32(t.Pitch), int32(t.N)}
}

// wide says whether images of so many values can be read four at a time.
func wide(length int, ts ...compute.Tensor) int32 {
	for _, t := range ts {
		if t.Buf != nil && (t.Off%4 != 0 || t.N > 1 && t.Pitch%4 != 0) {
			return 0
		}
	}
	return flag(length%4 == 0)
}

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func ceil(n, of int) int { return (n + of - 1) / of }

// threads is the size of most blocks.
const threads = 256

// maxImages bounds the second dimension of a grid.
const maxImages = 65535

// over returns a grid of threads for images of so many values, a few of them each.
func over(length, images int, wide int32) [3]uint32 {
	per := threads * (1 + 3*int(wide))
	return [3]uint32{uint32(min(ceil(length, per), 4096)), uint32(images), 1}
}

// launch queues a kernel whose parameters are the structure p.
func launch[P any](d *Device, name string, grid, block [3]uint32, shared int, p *P) {
	if d.Err() != nil {
		return
	}
	if grid[1] > maxImages || grid[2] > maxImages {
		d.Fail(fmt.Errorf("%s: a grid of %v blocks: %d images or channels are possible", name, grid, maxImages))
		return
	}
	k, ok := d.kernels[name]
	if !ok {
		var err error
		if k, err = d.driver.Kernel(name); err != nil {
			d.Fail(err)
			return
		}
		d.kernels[name] = k
	}
	args := unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
	if d.tape != nil {
		d.tape.add(k, grid, block, uint32(shared), args)
	}
	d.driver.Launch(k, grid, block, uint32(shared), args)
}

// row returns a block of so many threads.
func row(threads int) [3]uint32 { return [3]uint32{uint32(threads), 1, 1} }

// scratch is memory for what one call hands from a kernel to the next.
type scratch struct {
	ptr   Ptr
	bytes int
}

// temporary is scratch of at least so many bytes, contents unspecified. It grows;
// what it was before is kept until the end, as recordings use it.
func (d *Device) temporary(bytes int) Ptr {
	if bytes <= d.scratch.bytes || d.Err() != nil {
		if bytes > 0 && d.Err() == nil {
			d.poison(d.scratch.ptr, bytes)
		}
		return d.scratch.ptr
	}
	bytes = max(bytes, 3*d.scratch.bytes/2)
	p, err := d.reserve(bytes)
	if err != nil {
		d.Fail(err)
		return 0
	}
	d.scratch = scratch{p, bytes}
	return p
}
