//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func TestInfo(t *testing.T) {
	fake(t)
	if n, err := Count(); n != 2 || err != nil {
		t.Fatalf("%d GPUs, %v", n, err)
	}
	got := open(t).Info()
	if got.Name != "Emulated GPU" || !strings.HasPrefix(got.Driver, "CUDA 12.4") || got.Major != 8 || got.Minor != 0 ||
		got.SMs != 4 || got.MaxShared != 163<<10 || got.Total != 8192<<20 || got.Free != got.Total || !got.Software {
		t.Errorf("info %+v", got)
	}
}

// Copies go through pinned memory in pieces; every length and order must arrive.
func TestUploadDownload(t *testing.T) {
	fake(t)
	g := open(t)
	for _, n := range []int{1, 3, slotBytes/4 - 1, slotBytes / 4, slotBytes/4 + 1, slotBytes/4*slotCount*2 + 5} {
		p, err := g.Alloc(4 * n)
		if err != nil {
			t.Fatal(err)
		}
		src := ramp(n)
		want := slices.Clone(src)
		g.Upload(p, src)
		clear(src) // may be used again at once
		got := make([]byte, len(want))
		if err := g.Download(got, p); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d values don't come back", n)
		}
		g.Upload(p+4*cuda.Ptr(n)/8*4, nil)
		if err := g.Download(nil, p); err != nil {
			t.Error(err)
		}
		g.Free(p)
	}
	g.Free(0)
}

func TestKernels(t *testing.T) {
	control := fake(t)
	g := open(t)
	wantLayout := "dst 0 16\nx 16 16\na 32 16\nb 48 16\nab 64 16\nlength 80 4\nwide 84 4\nadd 88 4\np0 92 4\np1 96 4\np2 100 4\n"
	if got := control.Layout("map_clamp"); got != wantLayout {
		t.Fatalf("this test knows another layout of map_clamp than\n%s", got)
	}
	k, err := g.Kernel("map_clamp")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := g.Kernel("map_clamp"); again != k || err != nil {
		t.Errorf("the same kernel is %d, then %d, %v", k, again, err)
	}
	if loads := control.Calls("cuModuleLoadDataEx"); loads == 0 {
		t.Error("no module was loaded")
	}
	const n = 1000
	a, b := alloc(t, g, n), alloc(t, g, n)
	src := ramp(n)
	g.Upload(a, src)
	launchClamp(g, k, b, a, n, 2)
	launchClamp(g, k, a, b, n, 0.5) // in order
	got := make([]byte, 4*n)
	if err := g.Download(got, a); err != nil {
		t.Fatal(err)
	}
	for i, x := range floats(src) {
		if want := max(-1, min(0.5, x)); floats(got)[i] != want {
			t.Fatalf("value %d is %v, want %v", i, floats(got)[i], want)
		}
	}
	if _, err := g.Kernel("no_such"); err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("an unknown kernel: %v", err)
	}
	if err := g.Sync(); err != nil { // an unknown name breaks nothing
		t.Error(err)
	}
}

func alloc(t *testing.T, g *GPU, floats int) cuda.Ptr {
	t.Helper()
	p, err := g.Alloc(4 * floats)
	if err != nil {
		t.Fatal(err)
	}
	if p%256 != 0 {
		t.Errorf("address %#x is not aligned to 256", p)
	}
	return p
}

// A recording runs nothing by itself, and repeats what was recorded.
func TestGraphs(t *testing.T) {
	control := fake(t)
	g := open(t)
	k, err := g.Kernel("map_clamp")
	if err != nil {
		t.Fatal(err)
	}
	const n = 300
	a, b := alloc(t, g, n), alloc(t, g, n)
	g.Upload(a, ramp(n))
	g.Upload(b, ramp(n))
	g.BeginCapture()
	launchClamp(g, k, b, a, n, 2)
	launchClamp(g, k, b, b, n, 1)
	graph, err := g.EndCapture()
	if err != nil {
		t.Fatal(err)
	}
	read := func() float32 {
		t.Helper()
		got := make([]byte, 4*n)
		if err := g.Download(got, b); err != nil {
			t.Fatal(err)
		}
		return slices.Max(floats(got))
	}
	if top := read(); top < 2.9 {
		t.Errorf("recording ran the kernels: %v", top)
	}
	launched := control.Calls("cuLaunchKernel")
	for range 3 {
		g.LaunchGraph(graph)
		if top := read(); top != 1 {
			t.Errorf("the recording gives %v, want 1", top)
		}
		g.Upload(b, ramp(n))
	}
	if control.Calls("cuLaunchKernel") != launched {
		t.Error("replaying launched kernels one by one")
	}
	g.LaunchGraph(graph)
	g.FreeGraph(graph) // once it no longer runs
	g.FreeGraph(0)
	g.BeginCapture()
	empty, err := g.EndCapture()
	if err != nil {
		t.Fatal(err)
	}
	g.LaunchGraph(empty)
	if err := g.Sync(); err != nil {
		t.Error(err)
	}
	// Close frees the one that is left.
}

func TestLargeSharedMemory(t *testing.T) {
	control := fake(t)
	g := open(t)
	k, err := g.Kernel("map_clamp")
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	a := alloc(t, g, n)
	p := clamp{dst: view{a, n, 1}, x: view{a, n, 1}, a: view{count: 1}, b: view{count: 1}, ab: view{count: 1}, length: n, hi: 1, lo: -1}
	g.Upload(a, ramp(n))
	before := control.Calls("cuFuncSetAttribute")
	for _, c := range []struct{ shared, asked int }{{freeShared, 0}, {freeShared + 4, 1}, {100 << 10, 2}, {100 << 10, 2}, {60 << 10, 2}} {
		g.Launch(k, [3]uint32{1, 1, 1}, [3]uint32{256, 1, 1}, uint32(c.shared), bytes(&p))
		if err := g.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := control.Calls("cuFuncSetAttribute") - before; got != c.asked {
			t.Errorf("%d bytes: asked %d times for more, want %d", c.shared, got, c.asked)
		}
	}
}

// Wrong use is an error, never a panic, and is told to the end.
func TestWrongUse(t *testing.T) {
	fake(t)
	for name, c := range map[string]struct {
		use  func(g *GPU)
		want string
	}{
		"free of nothing": {func(g *GPU) { g.Free(4096) }, "not allocated"},
		"freed twice":     {func(g *GPU) { p, _ := g.Alloc(8); g.Free(p); g.Free(p) }, "not allocated"},
		"kernel 0":        {func(g *GPU) { g.Launch(0, [3]uint32{1, 1, 1}, [3]uint32{1, 1, 1}, 0, nil) }, "kernel number 0"},
		"short parameters": {func(g *GPU) {
			k, _ := g.Kernel("map_clamp")
			g.Launch(k, [3]uint32{1, 1, 1}, [3]uint32{1, 1, 1}, 0, make([]byte, 8))
		}, "takes 104 bytes"},
		"graph of nothing":    {func(g *GPU) { g.LaunchGraph(7) }, "freed"},
		"graph freed":         {func(g *GPU) { g.FreeGraph(7) }, "freed"},
		"end without begin":   {func(g *GPU) { _, _ = g.EndCapture() }, "not begun"},
		"negative allocation": {func(g *GPU) { _, err := g.Alloc(-1); g.queue(func() error { return err }) }, "-1 bytes"},
		"too much shared": {func(g *GPU) {
			k, _ := g.Kernel("map_clamp")
			p := clamp{}
			g.Launch(k, [3]uint32{1, 1, 1}, [3]uint32{1, 1, 1}, 1<<20, bytes(&p))
		}, "CUDA_ERROR_INVALID_VALUE"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := Open(0)
			if err != nil {
				t.Fatal(err)
			}
			c.use(g)
			for what, err := range map[string]error{"Sync": g.Sync(), "Download": g.Download(make([]byte, 4), 256), "Close": g.Close()} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", what, err, c.want)
				}
			}
			if err := g.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
			g.Free(1)
			g.Upload(1, []byte{1})
			g.Launch(1, [3]uint32{}, [3]uint32{}, 0, nil)
			g.BeginCapture()
			g.LaunchGraph(1)
			g.FreeGraph(1)
			for what, err := range map[string]error{"Sync": g.Sync(), "Alloc": second(g.Alloc(4)), "Kernel": second(g.Kernel("map_clamp")), "EndCapture": second(g.EndCapture())} {
				if !errors.Is(err, errClosed) {
					t.Errorf("%s after Close: %v", what, err)
				}
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// Too little memory leaves the GPU whole, and says what was wanted and is free.
func TestOutOfMemory(t *testing.T) {
	t.Setenv("FAKECUDA_MEMORY_MIB", "32")
	fake(t)
	g := open(t)
	p, err := g.Alloc(20 << 20)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Alloc(20 << 20)
	if !errors.Is(err, compute.ErrMemory) || !strings.Contains(err.Error(), "CUDA_ERROR_OUT_OF_MEMORY") || !strings.Contains(err.Error(), "20.0 MiB wanted, 12.0 of 32.0 MiB free") {
		t.Errorf("error %v", err)
	}
	g.Free(p)
	if _, err := g.Alloc(20 << 20); err != nil {
		t.Errorf("the GPU is not whole: %v", err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	fake(t)
	for _, number := range []int{-1, 2} {
		if _, err := Open(number); err == nil || !strings.Contains(err.Error(), "shows 2") {
			t.Errorf("GPU %d: %v", number, err)
		}
	}
	t.Setenv("FAKECUDA_CAPABILITY", "75")
	if _, err := Open(0); err == nil || !strings.Contains(err.Error(), "7.5") || !strings.Contains(err.Error(), "8.0") {
		t.Errorf("compute capability 7.5: %v", err)
	}
	t.Setenv("FAKECUDA_VERSION", "11070")
	if _, err := Open(0); err == nil || !strings.Contains(err.Error(), "11.7") || !strings.Contains(err.Error(), "520") {
		t.Errorf("an old driver: %v", err)
	}
	t.Setenv(LibraryVariable, "/no/libcuda.so.1")
	if _, err := Open(0); err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "/no/libcuda.so.1") || !strings.Contains(err.Error(), "install") {
		t.Errorf("no library: %v", err)
	}
	if _, err := Count(); err == nil {
		t.Error("GPUs without a library")
	}
}

// Each GPU has its own thread and context; they don't disturb each other, even
// while one records.
func TestTwoAtOnce(t *testing.T) {
	fake(t)
	var all sync.WaitGroup
	for number := range 2 {
		all.Go(func() {
			g, err := Open(number)
			if err != nil {
				t.Error(err)
				return
			}
			defer g.Close()
			k, err := g.Kernel("map_clamp")
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				p, err := g.Alloc(400)
				if err != nil {
					t.Error(err)
					return
				}
				g.Upload(p, ramp(100))
				g.BeginCapture()
				launchClamp(g, k, p, p, 100, float32(number))
				graph, err := g.EndCapture()
				if err != nil {
					t.Error(err)
					return
				}
				g.LaunchGraph(graph)
				got := make([]byte, 400)
				if err := g.Download(got, p); err != nil || slices.Max(floats(got)) != float32(number) {
					t.Errorf("GPU %d: %v, %v", number, slices.Max(floats(got)), err)
				}
				g.FreeGraph(graph)
				g.Free(p)
			}
		})
	}
	all.Wait()
}

// Memory is freed when the work queued before is done, and what a launch is given may
// be used again at once.
func TestQueuedWorkIsSafe(t *testing.T) {
	fake(t)
	g := open(t)
	k, err := g.Kernel("map_clamp")
	if err != nil {
		t.Fatal(err)
	}
	const n = 64
	a, b := alloc(t, g, n), alloc(t, g, n)
	g.Upload(a, ramp(n))
	p := clamp{dst: view{b, n, 1}, x: view{a, n, 1}, a: view{count: 1}, b: view{count: 1}, ab: view{count: 1}, length: n, hi: 2, lo: -1}
	hold := make(chan bool)
	g.thread.post(func() { <-hold }) // the launch waits for its turn
	g.Launch(k, [3]uint32{1, 1, 1}, [3]uint32{256, 1, 1}, 0, bytes(&p))
	p = clamp{}
	close(hold)
	g.Free(a)
	got := make([]byte, 4*n)
	if err := g.Download(got, b); err != nil {
		t.Fatal(err)
	}
	if top := slices.Max(floats(got)); top != 2 {
		t.Errorf("the largest value is %v, want 2", top)
	}
}
