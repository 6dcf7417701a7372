package wgsl

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
)

// listing is a driver that computes nothing and keeps every shader.
type listing struct {
	info    webgpu.Info
	shaders map[string]string
	made    int32
	live    int64 // bytes of buffers
	sizes   map[webgpu.Buffer]int
}

func newListing(software bool) *listing {
	return &listing{
		info: webgpu.Info{Name: "listing", Software: software, MaxBinding: 128 << 20, MaxBuffer: 256 << 20, MaxWorkgroups: 65535,
			MaxInvocations: 256, MaxWorkgroupStorage: 16 << 10, MaxStorageBuffers: 8, UniformAlignment: 256},
		shaders: map[string]string{}, sizes: map[webgpu.Buffer]int{},
	}
}

func (l *listing) number() int32                          { l.made++; return l.made }
func (l *listing) Info() webgpu.Info                      { return l.info }
func (l *listing) Submit([]int32)                         {}
func (l *listing) Wait() error                            { return nil }
func (l *listing) Close() error                           { return nil }
func (l *listing) WriteBuffer(webgpu.Buffer, int, []byte) {}

func (l *listing) Read(dst []byte, _ webgpu.Buffer, _ int) error {
	clear(dst)
	return nil
}

func (l *listing) CreateBuffer(bytes int, _ webgpu.Usage) (webgpu.Buffer, error) {
	b := webgpu.Buffer(l.number())
	l.sizes[b] = bytes
	l.live += int64(bytes)
	return b, nil
}

func (l *listing) DestroyBuffer(b webgpu.Buffer) {
	l.live -= int64(l.sizes[b])
	delete(l.sizes, b)
}

func (l *listing) CreatePipeline(label, text, _ string, _ []webgpu.Binding) (webgpu.Pipeline, error) {
	l.shaders[label] = text
	return webgpu.Pipeline(l.number()), nil
}

func (l *listing) CreateBindGroup(webgpu.Pipeline, []webgpu.Range) (webgpu.BindGroup, error) {
	return webgpu.BindGroup(l.number()), nil
}

func (l *listing) DestroyBindGroup(webgpu.BindGroup) {}

// shaders returns the text of the kernels as the conformance suite and the embedded prior
// need them, for software and other adapters, every variant of a convolution included,
// and for drivers that take f16 and subgroups.
func shaders(t *testing.T) map[string]string {
	all := map[string]string{}
	for _, kind := range []struct{ software, newer bool }{{true, false}, {false, false}, {false, true}} {
		gpu := newListing(kind.software)
		gpu.info.F16, gpu.info.Subgroups = kind.newer, kind.newer
		gpu.shaders = all
		o := Options{}
		if kind.newer {
			o.Precision = F16
		}
		d, err := New(gpu, o)
		if err != nil {
			t.Fatal(err)
		}
		d.tuneFrom = 0
		cases := slices.Concat(computetest.Ops(true), computetest.Networks(true))
		computetest.Run(context.Background(), d, cases, nil) // with wrong results
		for _, images := range []int{1, 4} {
			everyPass(t, d, images)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A driver without f16 is told so in one line.
func TestWithoutF16(t *testing.T) {
	_, err := New(newListing(true), Options{Precision: F16})
	if err == nil || !strings.Contains(err.Error(), "no f16 through this driver") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	if _, err := ParsePrecision("f8"); err == nil || !strings.Contains(err.Error(), "f16") {
		t.Error(err)
	}
}

// Arrays, prepared weights and recordings give their memory back.
func TestMemory(t *testing.T) {
	gpu := newListing(true)
	gpu.info.Memory = 64 << 20
	d, err := New(gpu, Options{})
	if err != nil {
		t.Fatal(err)
	}
	round := func() {
		w, err := d.PrepareConv(compute.ConvShape{Out: 8, In: 8, Kernel: 3}, make([]float32, 8*8*9), nil)
		if err != nil {
			t.Fatal(err)
		}
		x, err := compute.New(d, 2, 8, 64, 64)
		if err != nil {
			t.Fatal(err)
		}
		y, err := compute.New(d, 2, 8, 64, 64)
		if err != nil {
			t.Fatal(err)
		}
		r := d.Record(func() { d.Conv(y, x, w, compute.ConvMode{}) })
		r.Replay()
		r.Free()
		d.Free(x.Buf)
		d.Free(y.Buf)
		w.Free()
	}
	round()
	before := gpu.live
	for range 50 {
		round()
	}
	if gpu.live != before {
		t.Errorf("%d bytes, %d after 50 rounds", before, gpu.live)
	}
	for _, floats := range []int{33 << 20, 20 << 20} { // above a binding, above the memory
		_, err := d.Alloc(floats)
		if err == nil || !strings.Contains(err.Error(), compute.ErrMemory.Error()) {
			t.Errorf("an array of %d values: %v", floats, err)
		}
	}
	if _, err := d.Alloc(1 << 20); err != nil {
		t.Errorf("the device should be whole: %v", err)
	}
	if used, peak := d.Memory(); used > gpu.info.Memory || peak < used {
		t.Errorf("%d bytes in use, %d at most", used, peak)
	}
}

func TestExpand(t *testing.T) {
	for expression, want := range map[string]int{"1 + 2 * 3": 7, "(1 + 2) * 3": 9, "7 / 2 % 2": 1, "A * A - 1": 15,
		"A == 4 && 1 < A": 1, "A != 4 || 0": 0, "0 - 2": -2} {
		if got, err := evaluate(expression, map[string]int{"A": 4}); err != nil || got != want {
			t.Errorf("%s = %d, %v", expression, got, err)
		}
	}
	for _, expression := range []string{"", "1 +", "B", "1 / 0", "(1", "1 2"} {
		if v, err := evaluate(expression, nil); err == nil {
			t.Errorf("%q should fail, gave %d", expression, v)
		}
	}
	lines := strings.Split("#for i < 2\n#if i == 1\n$x${i + 1}\n#else\nzero ${i}\n#end\n#end\n#entry other\nno", "\n")
	e := expansion{entry: "this", ints: map[string]int{}, arrays: map[string]string{"x2": "memory0"}}
	if err := e.lines(lines); err != nil || e.out.String() != "zero 0\nmemory0\n" {
		t.Errorf("%q, %v", e.out.String(), err)
	}
	for _, wrong := range []string{"#if 1", "${2", "$y", "#for i", "#include nothing"} {
		e := expansion{ints: map[string]int{}}
		if e.lines([]string{wrong}) == nil {
			t.Errorf("%q should fail", wrong)
		}
	}
}
