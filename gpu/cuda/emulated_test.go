//go:build linux

package cuda

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// emulation is the kernels compiled for the host, called directly: what is tested
// here are the kernels and the device. Package libcuda's tests run the same
// through the binding of the driver.
type emulation struct {
	kernel func(i int32) string
	params func(name string) int
	layout func(name string) string
	launch func(name string, gx, gy, gz, bx, by, bz, shared uint32, params unsafe.Pointer) int32
}

var loadEmulation = sync.OnceValues(func() (*emulation, error) {
	library, err := fakecuda.Library(".")
	if err != nil {
		return nil, err
	}
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	e := &emulation{}
	purego.RegisterLibFunc(&e.kernel, handle, "emu_kernel")
	purego.RegisterLibFunc(&e.params, handle, "emu_params")
	purego.RegisterLibFunc(&e.layout, handle, "emu_layout")
	purego.RegisterLibFunc(&e.launch, handle, "emu_launch")
	return e, nil
})

// fakeGPU is a Driver on the emulation. Memory is the process's own, between pages that
// nothing may touch: a kernel that reads or writes beyond an array ends the test.
type fakeGPU struct {
	*emulation
	names    []string
	memory   map[Ptr]piece
	most     int // bytes that can be allocated in all
	inUse    int
	err      error
	captured []func()
	capture  bool
	graphs   map[Graph][]func()
}

// piece is memory with its fences.
type piece struct {
	whole []byte
	bytes int
}

func newFake(t testing.TB) *fakeGPU {
	e, err := loadEmulation()
	if errors.Is(err, fakecuda.ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &fakeGPU{emulation: e, memory: map[Ptr]piece{}, graphs: map[Graph][]func(){}}
}

func (f *fakeGPU) Info() DriverInfo {
	return DriverInfo{Name: "emulation", Driver: runtime.GOARCH, Major: 8, SMs: 8, MaxShared: 163 << 10, Total: 1 << 40, Free: 1 << 40, Software: true}
}

func (f *fakeGPU) Alloc(bytes int) (Ptr, error) {
	if f.most > 0 && f.inUse+bytes > f.most {
		return 0, compute.ErrMemory
	}
	f.inUse += bytes
	page := os.Getpagesize()
	size := (bytes + page - 1) / page * page
	whole, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return 0, err
	}
	for _, fence := range [][]byte{whole[:page], whole[page+size:]} {
		if err := syscall.Mprotect(fence, syscall.PROT_NONE); err != nil {
			return 0, err
		}
	}
	from := page // right after the fence, or the next time right before it
	if len(f.memory)%2 == 1 {
		from += size - bytes
	}
	words := unsafe.Slice((*uint32)(unsafe.Pointer(&whole[from])), bytes/4)
	for i := range words {
		words[i] = 0x7fc00000 // NaN
	}
	p := Ptr(uintptr(unsafe.Pointer(&words[0])))
	f.memory[p] = piece{whole, bytes}
	return p, nil
}

func (f *fakeGPU) Free(p Ptr) {
	f.inUse -= f.memory[p].bytes
	syscall.Munmap(f.memory[p].whole)
	delete(f.memory, p)
}

func at(p Ptr, n int) []byte { return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), n) }

func (f *fakeGPU) Upload(dst Ptr, src []byte) { copy(at(dst, len(src)), src) }
func (f *fakeGPU) Download(dst []byte, src Ptr) error {
	copy(dst, at(src, len(dst)))
	return f.err
}
func (f *fakeGPU) Sync() error { return f.err }
func (f *fakeGPU) Kernel(name string) (Kernel, error) {
	if f.params(name) < 0 {
		return 0, fmt.Errorf("no kernel %q", name)
	}
	f.names = append(f.names, name)
	return Kernel(len(f.names)), nil
}

func (f *fakeGPU) Launch(k Kernel, grid, block [3]uint32, shared uint32, args []byte) {
	name := f.names[k-1]
	if want := f.params(name); want != len(args) {
		f.err = fmt.Errorf("%s takes %d bytes of parameters, got %d", name, want, len(args))
		return
	}
	own := make([]uint64, (len(args)+7)/8)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&own[0])), len(args)), args)
	run := func() {
		code := f.launch(name, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, unsafe.Pointer(&own[0]))
		if code != 0 && f.err == nil {
			f.err = fmt.Errorf("%s: emulation says %d", name, code)
		}
	}
	if f.capture {
		f.captured = append(f.captured, run)
	} else {
		run()
	}
}
func (f *fakeGPU) BeginCapture() { f.capture, f.captured = true, nil }
func (f *fakeGPU) EndCapture() (Graph, error) {
	f.capture = false
	g := Graph(len(f.graphs) + 1)
	f.graphs[g] = f.captured
	return g, f.err
}
func (f *fakeGPU) LaunchGraph(g Graph) {
	for _, run := range f.graphs[g] {
		run()
	}
}
func (f *fakeGPU) FreeGraph(g Graph) { f.graphs[g] = nil }
func (f *fakeGPU) Close() error {
	if n := len(f.memory); n > 0 && f.err == nil {
		return fmt.Errorf("%d pieces of memory were not freed", n)
	}
	return f.err
}

func emulated(t testing.TB, p Precision) *Device {
	d, err := New(newFake(t), Options{Precision: p})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
