//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
)

// raw is a program that calls the driver by hand, on one OS thread.
type raw struct {
	*api
	t           *testing.T
	ctx, stream handle
}

func (r *raw) alloc(bytes int) (p uint64) {
	r.t.Helper()
	r.must(r.MemAlloc_v2(&p, uint64(bytes)))
	return p
}

func (r *raw) pinned(bytes int) (p unsafe.Pointer) {
	r.t.Helper()
	r.must(r.MemHostAlloc(&p, uint64(bytes), 0))
	return p
}

func (r *raw) event() (e handle) {
	r.t.Helper()
	r.must(r.EventCreate(&e, eventDisableTiming))
	return e
}

func (r *raw) kernel() (module, f handle) {
	r.t.Helper()
	g := &GPU{api: r.api}
	for _, m := range modulesWith(r.t, "map_clamp") {
		if err := g.load(m); err != nil {
			r.t.Fatal(err)
		}
		module = m.loaded
	}
	r.must(r.ModuleGetFunction(&f, module, "map_clamp"))
	return module, f
}

// clamp launches the kernel on n values at p, which it makes ½ to 1.
func (r *raw) clamp(f handle, p uint64, n int, block, shared uint32) Result {
	args := clamp{dst: view{cuda.Ptr(p), int32(n), 1}, x: view{cuda.Ptr(p), int32(n), 1}, a: view{count: 1}, b: view{count: 1}, ab: view{count: 1},
		length: int32(n), hi: 1, lo: 0.5}
	parameters := []unsafe.Pointer{unsafe.Pointer(&args)}
	return r.LaunchKernel(f, 1, 1, 1, block, 1, 1, shared, r.stream, &parameters[0], nil)
}

func (r *raw) must(result Result) {
	r.t.Helper()
	if result != success {
		r.t.Fatalf("result %d", result)
	}
}

func elsewhere(call func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the test's goroutine holds another thread
		call()
	}()
	<-done
}

// The fake driver finds every kind of mistake: a test with it can fail.
func TestFakeDriverFindsMistakes(t *testing.T) {
	control := fake(t)
	for _, c := range []struct {
		name string
		do   func(r *raw)
		want []string
	}{
		{"nothing wrong", func(r *raw) {}, nil},
		{"another thread", func(r *raw) { elsewhere(func() { r.StreamSynchronize(r.stream) }) }, []string{"no context is current on this thread"}},
		{"destroyed by another thread", func(r *raw) { elsewhere(func() { r.CtxDestroy_v2(r.ctx) }) }, []string{"another thread"}},
		{"memory leaks", func(r *raw) { r.alloc(8) }, []string{"leak: device memory"}},
		{"pinned memory leaks", func(r *raw) { r.pinned(8) }, []string{"leak: pinned host memory"}},
		{"a module leaks", func(r *raw) { r.kernel() }, []string{"leak: module"}},
		{"an event leaks", func(r *raw) { r.event() }, []string{"leak: event"}},
		{"freed twice", func(r *raw) { p := r.alloc(8); r.MemFree_v2(p); r.MemFree_v2(p) }, []string{"freed before"}},
		{"freed in the middle", func(r *raw) { p := r.alloc(8); r.MemFree_v2(p + 4); r.MemFree_v2(p) }, []string{"not an address"}},
		{"pinned memory freed as another", func(r *raw) { p := r.pinned(8); r.MemFreeHost(unsafe.Add(p, 4)); r.MemFreeHost(p) }, []string{"not an address"}},
		{"nothing allocated", func(r *raw) { var p uint64; r.MemAlloc_v2(&p, 0) }, []string{"size 0"}},
		{"copy beyond the end", func(r *raw) {
			p, h := r.alloc(8), r.pinned(16)
			r.MemcpyHtoDAsync_v2(p+4, h, 8, r.stream)
			r.MemFree_v2(p)
			r.MemFreeHost(h)
		}, []string{"outside an array"}},
		{"copy from memory that is not pinned", func(r *raw) {
			p, h := r.alloc(8), make([]byte, 8)
			r.MemcpyHtoDAsync_v2(p, unsafe.Pointer(&h[0]), 8, r.stream)
			r.MemFree_v2(p)
		}, []string{"not pinned"}},
		{"freed while a copy is queued", func(r *raw) {
			p, h := r.alloc(8), r.pinned(8)
			r.MemcpyHtoDAsync_v2(p, h, 8, r.stream)
			r.MemFree_v2(p)
			r.MemFreeHost(h)
			r.StreamSynchronize(r.stream)
			r.MemFree_v2(p)
			r.MemFreeHost(h)
		}, []string{"still queued", "still queued"}},
		{"stream destroyed twice", func(r *raw) {
			var s handle
			r.StreamCreate(&s, 1)
			r.StreamDestroy_v2(s)
			r.StreamDestroy_v2(s)
		}, []string{"no live handle"}},
		{"an event as a stream", func(r *raw) { e := r.event(); r.StreamSynchronize(e); r.EventDestroy_v2(e) }, []string{"no live handle"}},
		{"event destroyed while it is queued", func(r *raw) {
			e := r.event()
			r.EventRecord(e, r.stream)
			r.EventDestroy_v2(e)
			r.EventSynchronize(e)
			r.EventDestroy_v2(e)
		}, []string{"still queued"}},
		{"sync inside a capture", func(r *raw) {
			var g handle
			r.StreamBeginCapture_v2(r.stream, captureThreadLocal)
			r.StreamSynchronize(r.stream)
			if got := r.StreamEndCapture(r.stream, &g); got != 901 || g != 0 {
				r.t.Errorf("a broken capture ends with %d", got)
			}
		}, []string{"inside a capture"}},
		{"allocation inside a capture", func(r *raw) {
			var g handle
			var p uint64
			r.StreamBeginCapture_v2(r.stream, captureThreadLocal)
			r.MemAlloc_v2(&p, 8)
			r.StreamEndCapture(r.stream, &g)
		}, []string{"inside a capture"}},
		{"capture of all threads", func(r *raw) { r.StreamBeginCapture_v2(r.stream, 0) }, []string{"other threads' calls"}},
		{"end without a capture", func(r *raw) { var g handle; r.StreamEndCapture(r.stream, &g) }, []string{"without a capture"}},
		{"graph leaks", func(r *raw) {
			var g handle
			r.StreamBeginCapture_v2(r.stream, captureThreadLocal)
			r.StreamEndCapture(r.stream, &g)
		}, []string{"leak: graph"}},
		{"graph destroyed while it is queued", func(r *raw) {
			var g, x handle
			r.StreamBeginCapture_v2(r.stream, captureThreadLocal)
			r.StreamEndCapture(r.stream, &g)
			r.GraphInstantiateWithFlags(&x, g, 0)
			r.GraphDestroy(g)
			r.GraphLaunch(x, r.stream)
			r.GraphExecDestroy(x)
			r.StreamSynchronize(r.stream)
			r.GraphExecDestroy(x)
		}, []string{"still queued"}},
		{"a kernel writes beyond its array", func(r *raw) {
			m, f := r.kernel()
			p := r.alloc(100 * 4)
			r.must(r.clamp(f, p, 101, 256, 0))
			r.StreamSynchronize(r.stream)
			r.MemFree_v2(p)
			r.ModuleUnload(m)
		}, []string{"behind it"}},
		{"a kernel gets freed memory", func(r *raw) {
			_, f := r.kernel()
			p := r.alloc(400)
			r.MemFree_v2(p)
			r.must(r.clamp(f, p, 100, 256, 0))
			if got := r.StreamSynchronize(r.stream); got != 700 {
				r.t.Errorf("result %d", got)
			}
		}, []string{"memory that was freed"}},
		{"module unloaded while its kernel is queued", func(r *raw) {
			m, f := r.kernel()
			p := r.alloc(400)
			r.must(r.clamp(f, p, 100, 256, 0))
			r.ModuleUnload(m)
			r.StreamSynchronize(r.stream)
			r.ModuleUnload(m)
			r.MemFree_v2(p)
		}, []string{"still queued"}},
		{"kernel of an unloaded module", func(r *raw) {
			m, f := r.kernel()
			p := r.alloc(400)
			r.ModuleUnload(m)
			r.clamp(f, p, 100, 256, 0)
			r.MemFree_v2(p)
		}, []string{"no live function"}},
		{"block too large", func(r *raw) { m, f := r.kernel(); r.clamp(f, 0, 1, 2048, 0); r.ModuleUnload(m) }, []string{"a block that is"}},
		{"shared memory not asked for", func(r *raw) { m, f := r.kernel(); r.clamp(f, 0, 1, 256, 50<<10); r.ModuleUnload(m) }, []string{"more shared memory"}},
		{"a block that the kernel is not made for", func(r *raw) {
			_, f := r.kernel()
			r.must(r.clamp(f, r.alloc(400), 100, 1024, 0))
			r.StreamSynchronize(r.stream)
		}, []string{"block 1024×1×1"}},
		{"an unknown attribute", func(r *raw) { var v int32; r.DeviceGetAttribute(&v, 1, 0) }, []string{"does not know"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := find()
			if err != nil {
				t.Fatal(err)
			}
			elsewhere(func() {
				r := &raw{api: a, t: t}
				r.Init(0)
				r.CtxCreate_v2(&r.ctx, 0, 0)
				r.StreamCreate(&r.stream, streamNonBlocking)
				c.do(r)
				r.StreamDestroy_v2(r.stream)
				r.CtxDestroy_v2(r.ctx)
			})
			got := control.Violations()
			for i, want := range c.want {
				if i >= len(got) || !strings.Contains(got[i], want) {
					t.Errorf("violation %d is not %q: %q", i, want, got)
				}
			}
			if len(got) > len(c.want) {
				t.Errorf("too much is found: %q", got)
			}
		})
	}
}

// Work is done as late as CUDA allows: who doesn't wait reads something else.
func TestFakeDriverIsLate(t *testing.T) {
	fake(t)
	a, err := find()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere(func() {
		r := &raw{api: a, t: t}
		r.Init(0)
		r.must(r.CtxCreate_v2(&r.ctx, 0, 0))
		r.must(r.StreamCreate(&r.stream, streamNonBlocking))
		p, e := r.alloc(4), r.event()
		h := r.pinned(8)
		from, to := (*float32)(h), (*float32)(unsafe.Add(h, 4))
		*from, *to = 1, 0
		r.must(r.MemcpyHtoDAsync_v2(p, unsafe.Pointer(from), 4, r.stream))
		r.must(r.MemcpyDtoHAsync_v2(unsafe.Pointer(to), p, 4, r.stream))
		r.must(r.EventRecord(e, r.stream))
		if *to != 0 {
			t.Error("a copy was done at once")
		}
		*from = 2 // too early: the copy reads it when it runs
		r.must(r.EventSynchronize(e))
		if *to != 2 {
			t.Errorf("after the event the value is %v", *to)
		}
		r.MemFreeHost(h)
		r.MemFree_v2(p)
		r.EventDestroy_v2(e)
		r.StreamDestroy_v2(r.stream)
		r.CtxDestroy_v2(r.ctx)
	})
}

// The old names are there, as in the real library, and end the process; so does
// nothing before cuInit.
func TestOldNames(t *testing.T) {
	const variable = "LIBCUDA_TEST_OLD_NAME"
	if name := os.Getenv(variable); name != "" {
		lib, err := purego.Dlopen(os.Getenv(LibraryVariable), purego.RTLD_NOW)
		if err != nil {
			t.Fatal(err)
		}
		symbol, err := purego.Dlsym(lib, name)
		if err != nil {
			t.Fatal(err)
		}
		r, _, _ := purego.SyscallN(symbol, 0, 0, 0, 0, 0)
		control, err := fakecuda.Open(os.Getenv(LibraryVariable))
		if err != nil {
			t.Fatal(err)
		}
		t.Fatalf("%s returned %d: %v", name, r, control.Violations())
	}
	fake(t)
	for name, want := range map[string]string{
		"cuMemAlloc": "old form", "cuMemFree": "old form", "cuMemcpyHtoDAsync": "old form", "cuCtxCreate": "old form", "cuStreamBeginCapture": "old form",
		"cuGraphInstantiate": "old form", "cuCtxDestroy": "old form", "cuDeviceTotalMem": "old form",
		"cuDeviceGetCount": "before cuInit", "cuCtxCreate_v2": "before cuInit",
	} {
		child := exec.Command(os.Args[0], "-test.run=^TestOldNames$")
		child.Env = append(os.Environ(), variable+"="+name)
		out, err := child.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %q is not in\n%s", name, err, want, out)
		}
	}
}
