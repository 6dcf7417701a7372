//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// everything calls all that the binding can call, and gives every error.
func everything() (errs []error) {
	note := func(err error) { errs = append(errs, err) }
	g, err := Open(0)
	if err != nil {
		return []error{err}
	}
	defer func() { note(g.Close()) }()
	k, err := g.Kernel("map_clamp")
	note(err)
	n := slotBytes/4*slotCount + 100 // every slot of the staging memory is used again
	a, err := g.Alloc(4 * n)
	note(err)
	b, err := g.Alloc(4 * n)
	note(err)
	if errors.Join(errs...) != nil {
		return errs
	}
	src := ramp(n)
	g.Upload(a, src)
	launchClamp(g, k, b, a, n, 2)
	p := clamp{dst: view{b, int32(n), 1}, x: view{b, int32(n), 1}, a: view{count: 1}, b: view{count: 1}, ab: view{count: 1}, length: 1, hi: 1, lo: -1}
	g.Launch(k, [3]uint32{1, 1, 1}, [3]uint32{256, 1, 1}, freeShared+4, bytes(&p))
	g.BeginCapture()
	launchClamp(g, k, b, b, n, 1)
	launchClamp(g, k, b, b, n, 0.5)
	graph, err := g.EndCapture()
	if note(err); err != nil {
		return errs
	}
	g.LaunchGraph(graph)
	got := make([]byte, 4*n)
	note(g.Download(got, b))
	g.FreeGraph(graph)
	g.Free(a)
	note(g.Sync())
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) && slices.Max(floats(got)) != 0.5 {
		note(fmt.Errorf("the largest value is %v, want 0.5", slices.Max(floats(got))))
	}
	return errs
}

// Each call in turn fails, in each way. The failure must come out with CUDA's name
// and of the right kind, nothing may panic, break a rule of the driver, or be left.
func TestEveryCallFails(t *testing.T) {
	control := fake(t)
	before := control.Calls("")
	if err := errors.Join(everything()...); err != nil {
		t.Fatal(err)
	}
	calls := control.Calls("") - before
	if calls < 60 {
		t.Fatalf("only %d calls", calls)
	}
	failures := []struct {
		code int
		name string
		kind error
	}{
		{1, "CUDA_ERROR_INVALID_VALUE", nil},
		{2, "CUDA_ERROR_OUT_OF_MEMORY", compute.ErrMemory},
		{214, "CUDA_ERROR_ECC_UNCORRECTABLE", compute.ErrLost},
		{700, "CUDA_ERROR_ILLEGAL_ADDRESS", compute.ErrLost},
		{719, "CUDA_ERROR_LAUNCH_FAILED", compute.ErrLost},
		{12345, "CUDA_ERROR_?", nil},
	}
	for _, f := range failures {
		for n := 1; n <= calls; n++ {
			control.Fail(n, f.code)
			err := errors.Join(everything()...)
			control.Fail(0, 0)
			var e *Error
			switch {
			case !errors.As(err, &e):
				t.Errorf("call %d fails with %s: got %v", n, f.name, err)
			case e.Name != f.name || int(e.Code) != f.code || e.Call == "":
				t.Errorf("call %d fails with %s: got %+v", n, f.name, e)
			case f.kind != nil && !errors.Is(err, f.kind), f.kind == nil && (errors.Is(err, compute.ErrLost) || errors.Is(err, compute.ErrMemory)):
				t.Errorf("call %d: %v is of another kind than %v", n, err, f.kind)
			}
			if left := control.Live(); left != 0 {
				t.Fatalf("call %d (%v) leaves %d things behind", n, err, left)
			}
			for _, v := range control.Violations() {
				t.Fatalf("call %d (%v): the driver saw: %s", n, err, v)
			}
		}
	}
}

// Every function of the binding was called by the test above.
func TestEveryFunctionIsTried(t *testing.T) {
	control := fake(t)
	if err := errors.Join(everything()...); err != nil {
		t.Fatal(err)
	}
	a, err := find()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range a.names() {
		if name != "cuGetErrorName" && control.Calls(name) == 0 {
			t.Errorf("%s is never called", name)
		}
	}
}

// A compiler's message reaches the user.
func TestCompilerMessage(t *testing.T) {
	control := fake(t)
	g, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	control.Fail(1, 218)
	_, err = g.Kernel("map_clamp")
	const want = "cuModuleLoadDataEx: CUDA_ERROR_INVALID_PTX (218): map.ptx: ptxas application: a failure that was asked for"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
