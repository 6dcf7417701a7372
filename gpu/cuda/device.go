package cuda

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Device computes on one GPU, everything queued in order on one stream. Free
// arrays are kept for the next array of their size.
type Device struct {
	compute.Guard
	driver    Driver
	info      DriverInfo
	precision Precision
	kernels   map[string]Kernel
	live      map[*buffer]bool
	pieces    map[Ptr]int   // all memory taken from the driver, in bytes
	spare     map[int][]Ptr // by bytes: what of it nothing uses
	used      int64         // the sum of pieces
	scratch   scratch
	tape      *recording // what is being recorded
	poisons   bool       // memory is full of NaN when it is handed out, see compute.Poison
}

var (
	_ compute.Device   = (*Device)(nil)
	_ compute.Recorder = (*Device)(nil)
	_ compute.Drawer   = (*Device)(nil)
)

// Options choose how a device computes. The zero value is the default.
type Options struct {
	Precision Precision // of convolutions
}

// New returns a device on a driver's GPU, which it closes at its end.
func New(driver Driver, o Options) (*Device, error) {
	info := driver.Info()
	if info.Major < 8 {
		return nil, fmt.Errorf("cuda: %s has compute capability %d.%d, 8.0 (A100) or later is needed", info.Name, info.Major, info.Minor)
	}
	poisons, err := compute.Poison()
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	d := &Device{driver: driver, poisons: poisons, info: info, precision: o.Precision, kernels: map[string]Kernel{},
		live: map[*buffer]bool{}, pieces: map[Ptr]int{}, spare: map[int][]Ptr{}}
	d.Guard = compute.NewGuard("cuda", d.owns)
	return d, nil
}

// Info implements [compute.Device]. A sixteenth of what was free when the device
// was opened is left for the driver and for scratch.
func (d *Device) Info() compute.Info {
	spare := int64(0)
	for bytes, all := range d.spare {
		spare += int64(bytes * len(all))
	}
	return compute.Info{
		Name: "cuda",
		Description: fmt.Sprintf("%s, compute capability %d.%d, %d multiprocessors, driver %s, %s",
			d.info.Name, d.info.Major, d.info.Minor, d.info.SMs, d.info.Driver, d.precision),
		Arithmetic: fmt.Sprintf("%s, compute capability %d.%d, %s", d.info.Name, d.info.Major, d.info.Minor, d.precision),
		Software:   d.info.Software,
		Memory:     max(1, d.info.Free/16*15-d.used+spare),
		Rounding:   d.precision.rounding(),
	}
}

// Close implements [compute.Device].
func (d *Device) Close() error {
	d.Fail(d.driver.Sync())
	err := d.Err()
	for p := range d.pieces {
		d.driver.Free(p)
	}
	clear(d.live)
	d.Fail(d.driver.Close())
	if err == nil {
		err = d.Err()
	}
	return err
}

// buffer is an array on the GPU.
type buffer struct {
	ptr    Ptr
	floats int
}

// Len implements [compute.Buffer].
func (b *buffer) Len() int { return b.floats }

func (d *Device) owns(b compute.Buffer) bool {
	a, ok := b.(*buffer)
	return ok && d.live[a]
}

// maxFloats bounds one array, 8 GiB: kernels count the values of an image, and from
// one image to the next, in 32 bits.
const maxFloats = 1<<31 - 1

// Alloc implements [compute.Memory].
func (d *Device) Alloc(floats int) (compute.Buffer, error) {
	if err := d.AllocFits(floats, maxFloats); err != nil {
		return nil, err
	}
	p, err := d.reserve(4 * floats)
	if err != nil {
		return nil, err
	}
	b := &buffer{p, floats}
	d.live[b] = true
	return b, nil
}

// Free implements [compute.Memory].
func (d *Device) Free(b compute.Buffer) {
	if a, ok := b.(*buffer); ok && d.live[a] {
		delete(d.live, a)
		d.release(a.ptr, 4*a.floats)
	}
}

// rounded returns the bytes that an array takes.
func rounded(bytes int) int { return max(256, (bytes+255)&^255) }

// reserve takes a spare piece of memory or a new one; where there is none, the
// spare ones are given up first.
func (d *Device) reserve(bytes int) (Ptr, error) {
	p, err := d.piece(bytes)
	if err == nil {
		d.poison(p, bytes)
	}
	return p, err
}

// poison fills memory with NaN where [compute.Poison] says so.
func (d *Device) poison(p Ptr, bytes int) {
	if d.poisons {
		d.driver.Upload(p, bytesOf(slices.Repeat([]float32{compute.Unwritten}, rounded(bytes)/4)))
	}
}

// piece takes memory from what is spare or from the driver.
func (d *Device) piece(bytes int) (Ptr, error) {
	bytes = rounded(bytes)
	if s := d.spare[bytes]; len(s) > 0 {
		d.spare[bytes] = s[:len(s)-1]
		return s[len(s)-1], nil
	}
	p, err := d.driver.Alloc(bytes)
	if err != nil && len(d.spare) > 0 {
		d.trim()
		p, err = d.driver.Alloc(bytes)
	}
	if err != nil {
		const mib = 1 << 20
		return 0, fmt.Errorf("cuda: %d MiB more, with %d MiB in use of the %d MiB that %s had free: %w",
			bytes/mib, d.used/mib, d.info.Free/mib, d.info.Name, err)
	}
	d.pieces[p] = bytes
	d.used += int64(bytes)
	return p, nil
}

// release makes a piece of memory spare. Work queued before may still use it; what
// uses it next is queued after that.
func (d *Device) release(p Ptr, bytes int) {
	bytes = rounded(bytes)
	d.spare[bytes] = append(d.spare[bytes], p)
}

// trim gives the spare memory back to the driver.
func (d *Device) trim() {
	for bytes, all := range d.spare {
		for _, p := range all {
			d.driver.Free(p)
			delete(d.pieces, p)
			d.used -= int64(bytes)
		}
	}
	clear(d.spare)
}

// image returns the address of image n.
func image(t compute.Tensor, n int) Ptr {
	return t.Buf.(*buffer).ptr + 4*Ptr(t.Off+n*t.Pitch)
}

// Write implements [compute.Memory].
func (d *Device) Write(dst compute.Tensor, src []float32) {
	if !d.WriteFits(dst, src) {
		return
	}
	if dst.N == 1 || dst.Pitch == dst.Len() {
		d.driver.Upload(image(dst, 0), bytesOf(src))
		return
	}
	for n := range dst.N {
		d.driver.Upload(image(dst, n), bytesOf(src[n*dst.Len():(n+1)*dst.Len()]))
	}
}

// Read implements [compute.Memory].
func (d *Device) Read(dst []float32, src compute.Tensor) error {
	if !d.ReadFits(dst, src) {
		return d.Err()
	}
	if src.N == 1 || src.Pitch == src.Len() {
		d.Fail(d.driver.Download(bytesOf(dst), image(src, 0)))
		return d.Err()
	}
	for n := range src.N {
		d.Fail(d.driver.Download(bytesOf(dst[n*src.Len():(n+1)*src.Len()]), image(src, n)))
	}
	return d.Err()
}

// Sync implements [compute.Memory].
func (d *Device) Sync() error {
	d.Fail(d.driver.Sync())
	return d.Err()
}

// bytesOf views values as the GPU holds them: both are little-endian.
func bytesOf[T float32 | float64 | uint32](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
