//go:build linux

package cuda

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Freed arrays are used again, given back to the driver when memory is short, and
// what does not fit is refused by an error that says how much there is. Nothing of
// it harms the device.
func TestMemory(t *testing.T) {
	f := newFake(t)
	f.most = 10 << 20
	d, err := New(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 18 // floats
	a, err := d.Alloc(4 * mib)
	if err != nil {
		t.Fatal(err)
	}
	was := a.(*buffer).ptr
	d.Free(a)
	if a, err = d.Alloc(4 * mib); err != nil || a.(*buffer).ptr != was {
		t.Errorf("an array of the size of a freed one is at %v (%v), not at %v", a, err, was)
	}
	d.Free(a)
	d.Free(a) // twice does no harm
	b, err := d.Alloc(8 * mib)
	if err != nil {
		t.Fatalf("8 MiB of 10, with 4 MiB spare: %v", err)
	}
	_, err = d.Alloc(3 * mib)
	if !errors.Is(err, compute.ErrMemory) || !strings.Contains(err.Error(), "3 MiB more, with 8 MiB in use") {
		t.Errorf("3 MiB more than 8 of 10: %v", err)
	}
	if _, err := d.PrepareConv(compute.ConvShape{Out: 256, In: 256, Kernel: 3}, make([]float32, 256*256*9), nil); !errors.Is(err, compute.ErrMemory) {
		t.Errorf("weights of 2.25 MiB and their layout: %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("a refused array should leave the device whole: %v", err)
	}
	d.Free(b)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// A recording repeats its calls on what its arrays hold now, also after scratch has
// grown and moved, and the layout of weights is no part of it.
func TestRecording(t *testing.T) {
	d := emulated(t, F32)
	weight := []float32{2}
	w, err := d.PrepareConv(compute.ConvShape{Out: 1, In: 1, Kernel: 1}, weight, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws := compute.NewWorkspace(d)
	x, between, y := ws.New(1, 1, 4, 4), ws.New(1, 1, 4, 4), ws.New(1, 1, 4, 4)
	l := ws.FromHost([]float32{0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0}, 1, 1, 4, 4) // reverses rows
	r := ws.FromHost([]float32{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, 1, 1, 4, 4)
	one := ws.FromHost([]float32{1}, 1, 1, 1, 1)
	large := ws.New(1, 64, 64, 64)
	if ws.Err() != nil {
		t.Fatal(ws.Err())
	}
	values := make([]float32, 16)
	check := func(when string) {
		t.Helper()
		got, err := compute.ToHost(d, y)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, 16)
		for i := range want {
			want[i] = 2 * values[(3-i/4)*4+i%4]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	set := func(from float32) {
		for i := range values {
			values[i] = from + float32(i)
		}
		d.Write(x, values)
	}
	set(1)
	rec := d.Record(func() {
		d.Separable(between, x, l, r, false) // through scratch
		d.Conv(y, between, w, compute.ConvMode{})
	})
	check("recorded")
	set(100)
	before := d.scratch.ptr
	d.Correlate(ws.Like(large), large, one, compute.Circular, true)
	if d.scratch.ptr == before {
		t.Error("the scratch should have grown")
	}
	rec.Replay()
	check("replayed")
	rec.Free()
	rec.Replay() // of nothing
	w.Free()
	ws.Free()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// An old GPU is refused in words.
func TestOldGPU(t *testing.T) {
	f := newFake(t)
	old := oldGPU{f}
	if _, err := New(old, Options{}); err == nil || !strings.Contains(err.Error(), "7.5") || !strings.Contains(err.Error(), "8.0") {
		t.Errorf("compute capability 7.5: %v", err)
	}
}

type oldGPU struct{ *fakeGPU }

func (o oldGPU) Info() DriverInfo {
	i := o.fakeGPU.Info()
	i.Major, i.Minor = 7, 5
	return i
}

func TestParsePrecision(t *testing.T) {
	for _, p := range []Precision{TF32, F32, BF16, TF32x3} {
		if got, err := ParsePrecision(p.String()); got != p || err != nil {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if _, err := ParsePrecision("fp8"); err == nil || !strings.Contains(err.Error(), "tf32x3") {
		t.Errorf("fp8: %v", err)
	}
}
