//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx"
)

// fake puts the fake driver in the place of NVIDIA's. At the test's end it must have
// seen nothing wrong, and nothing may be left.
func fake(t *testing.T) *fakecuda.Control {
	t.Helper()
	path, err := fakecuda.Library("..")
	if errors.Is(err, fakecuda.ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := fakecuda.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(LibraryVariable, path)
	usual := slotBytes
	slotBytes = 4 << 10
	t.Cleanup(func() { slotBytes = usual })
	c.Violations()
	t.Cleanup(func() {
		c.Fail(0, 0)
		for _, v := range c.Violations() {
			t.Error("the driver saw: ", v)
		}
		if n := c.Live(); n != 0 {
			t.Errorf("%d contexts, handles and pieces of memory are left", n)
		}
	})
	return c
}

func open(t *testing.T) *GPU {
	t.Helper()
	g, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// clamp is the parameters of the kernel map_clamp, the smallest that reads one
// array and writes another: View and Pointwise of the sources.
type clamp struct {
	dst, x, a, b, ab  view
	length, wide, add int32
	lo, hi, unused    float32
}

type view struct {
	at           cuda.Ptr
	pitch, count int32
}

// launchClamp limits n values of from to −1 … hi.
func launchClamp(g *GPU, k cuda.Kernel, to, from cuda.Ptr, n int, hi float32) {
	p := clamp{dst: view{to, int32(n), 1}, x: view{from, int32(n), 1}, a: view{count: 1}, b: view{count: 1}, ab: view{count: 1},
		length: int32(n), hi: hi, lo: -1}
	g.Launch(k, [3]uint32{uint32(n+255) / 256, 1, 1}, [3]uint32{256, 1, 1}, 0, bytes(&p))
}

func bytes[T any](p *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p)) }

func floats(b []byte) []float32 {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// ramp is n values, as bytes.
func ramp(n int) []byte {
	b := make([]byte, 4*n)
	for i, f := 0, floats(b); i < n; i++ {
		f[i] = float32(3 * math.Sin(float64(i)))
	}
	return b
}

// modulesWith returns the modules that hold a kernel, not yet loaded.
func modulesWith(t *testing.T, kernel string) (found []*module) {
	t.Helper()
	all, err := ptx.Modules(8, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if slices.ContainsFunc(m.Kernels, func(k ptx.Kernel) bool { return k.Name == kernel }) {
			found = append(found, &module{Module: m})
		}
	}
	return found
}
