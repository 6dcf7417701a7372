//go:build js

// Package browser is the WebGPU driver of a browser: a thin layer over an object of
// the page's, the bridge in wasm/npm/src/gpu.ts, which keeps the objects by number
// and decodes whole streams of commands. It works on a page and in a worker. Calls
// that wait block the goroutine while the page goes on.
package browser

import (
	"errors"
	"fmt"
	"strings"
	"syscall/js"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// gpu is a bridge.
type gpu struct {
	bridge js.Value
	info   webgpu.Info
}

// New returns the adapter behind a bridge.
func New(bridge js.Value) webgpu.GPU {
	i := bridge.Get("info")
	number := func(name string) int { return i.Get(name).Int() }
	text := func(name string) string { return i.Get(name).String() }
	return &gpu{bridge, webgpu.Info{
		Name: text("name"), Vendor: text("vendor"), Driver: "WebGPU", Backend: "browser",
		Software:            i.Get("software").Bool(),
		MaxBinding:          number("maxBinding"),
		MaxBuffer:           number("maxBuffer"),
		MaxWorkgroups:       number("maxWorkgroups"),
		MaxInvocations:      number("maxInvocations"),
		MaxWorkgroupStorage: number("maxWorkgroupStorage"),
		MaxStorageBuffers:   number("maxStorageBuffers"),
		UniformAlignment:    number("uniformAlignment"),
		F16:                 i.Get("f16").Bool(),
		Subgroups:           i.Get("subgroups").Bool(),
	}}
}

// Info implements [webgpu.GPU].
func (g *gpu) Info() webgpu.Info { return g.info }

// CreateBuffer implements [webgpu.GPU].
func (g *gpu) CreateBuffer(bytes int, use webgpu.Usage) (webgpu.Buffer, error) {
	if bytes > g.info.MaxBuffer {
		return 0, fmt.Errorf("a buffer of %d bytes, the adapter's hold at most %d: %w", bytes, g.info.MaxBuffer, compute.ErrMemory)
	}
	id, err := Await(g.bridge.Call("createBuffer", bytes, use == webgpu.Uniform))
	if err != nil {
		return 0, fmt.Errorf("a buffer of %d bytes: %w", bytes, err)
	}
	return webgpu.Buffer(id.Int()), nil
}

// DestroyBuffer implements [webgpu.GPU].
func (g *gpu) DestroyBuffer(b webgpu.Buffer) { g.bridge.Call("destroyBuffer", int(b)) }

// piece is what is copied to the page at a time.
const piece = 16 << 20

// WriteBuffer implements [webgpu.GPU].
func (g *gpu) WriteBuffer(b webgpu.Buffer, offset int, data []byte) {
	for {
		n := min(len(data), piece)
		js.CopyBytesToJS(g.bridge.Call("stage", n), data[:n])
		g.bridge.Call("write", int(b), offset, n)
		if data, offset = data[n:], offset+n; len(data) == 0 {
			return
		}
	}
}

// CreatePipeline implements [webgpu.GPU].
func (g *gpu) CreatePipeline(label, wgsl, entry string, bindings []webgpu.Binding) (webgpu.Pipeline, error) {
	var kinds strings.Builder
	for _, b := range bindings {
		kinds.WriteByte(byte('0' + b))
	}
	id, err := Await(g.bridge.Call("createPipeline", label, wgsl, entry, kinds.String()))
	if err != nil {
		return 0, err
	}
	return webgpu.Pipeline(id.Int()), nil
}

// CreateBindGroup implements [webgpu.GPU].
func (g *gpu) CreateBindGroup(p webgpu.Pipeline, ranges []webgpu.Range) (webgpu.BindGroup, error) {
	numbers := make([]any, 0, 3*len(ranges))
	for _, r := range ranges {
		numbers = append(numbers, int(r.Buffer), r.Offset, r.Size)
	}
	id := g.bridge.Call("createBindGroup", int(p), numbers)
	if id.Type() != js.TypeNumber {
		return 0, fmt.Errorf("bind group: %s", id.String())
	}
	return webgpu.BindGroup(id.Int()), nil
}

// DestroyBindGroup implements [webgpu.GPU].
func (g *gpu) DestroyBindGroup(b webgpu.BindGroup) { g.bridge.Call("destroyBindGroup", int(b)) }

// Submit implements [webgpu.GPU].
func (g *gpu) Submit(commands []int32) {
	if len(commands) == 0 {
		return
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(commands))), 4*len(commands))
	js.CopyBytesToJS(g.bridge.Call("stage", len(bytes)), bytes)
	g.bridge.Call("submit", len(commands))
}

// Read implements [webgpu.GPU].
func (g *gpu) Read(dst []byte, b webgpu.Buffer, offset int) error {
	for len(dst) > 0 {
		n := min(len(dst), piece)
		mapped, err := Await(g.bridge.Call("read", int(b), offset, n))
		if err != nil {
			return err
		}
		js.CopyBytesToGo(dst[:n], mapped)
		g.bridge.Call("readDone")
		dst, offset = dst[n:], offset+n
	}
	return nil
}

// Wait implements [webgpu.GPU].
func (g *gpu) Wait() error {
	_, err := Await(g.bridge.Call("wait"))
	return err
}

// Close implements [webgpu.GPU]. The page's device itself is the page's to destroy.
func (g *gpu) Close() error {
	err := g.Wait()
	g.bridge.Call("free")
	return err
}

// Await blocks until a promise is resolved or rejected. Its rejection is an error, a [*Failure]
// where it says {code, message}.
func Await(promise js.Value) (js.Value, error) {
	var value js.Value
	var err error
	done := make(chan struct{})
	settle := func(f func(v js.Value)) js.Func {
		return js.FuncOf(func(_ js.Value, args []js.Value) any {
			if len(args) > 0 {
				f(args[0])
			}
			close(done)
			return nil
		})
	}
	fulfilled := settle(func(v js.Value) { value = v })
	rejected := settle(func(v js.Value) { err = failure(v) })
	defer fulfilled.Release()
	defer rejected.Release()
	promise.Call("then", fulfilled, rejected)
	<-done
	return value, err
}

// Failure is what the page rejects a promise with. For [errors.Is] it is
// [compute.ErrLost] or [compute.ErrMemory] where its code says so.
type Failure struct{ Code, Message string }

// Error implements error.
func (f *Failure) Error() string { return f.Message }

// Is says whether the code means that error.
func (f *Failure) Is(target error) bool {
	return target == compute.ErrLost && f.Code == "DEVICE_LOST" || target == compute.ErrMemory && f.Code == "OUT_OF_MEMORY"
}

// failure returns a rejection as an error.
func failure(v js.Value) error {
	if v.Type() != js.TypeObject || v.Get("message").Type() != js.TypeString {
		return errors.New("the page failed without saying why")
	}
	f := &Failure{Code: "INTERNAL", Message: strings.Join(strings.Fields(v.Get("message").String()), " ")}
	if code := v.Get("code"); code.Type() == js.TypeString {
		f.Code = code.String()
	}
	return f
}
