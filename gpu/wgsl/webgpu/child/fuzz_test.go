package child

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/internal/fuzztest"
)

// blank is a driver that takes everything and does nothing.
type blank struct{}

func (blank) Info() webgpu.Info                                     { return webgpu.Info{} }
func (blank) CreateBuffer(int, webgpu.Usage) (webgpu.Buffer, error) { return 1, nil }
func (blank) DestroyBuffer(webgpu.Buffer)                           {}
func (blank) WriteBuffer(webgpu.Buffer, int, []byte)                {}
func (blank) DestroyBindGroup(webgpu.BindGroup)                     {}
func (blank) Submit([]int32)                                        {}
func (blank) Read(dst []byte, _ webgpu.Buffer, _ int) error         { return nil }
func (blank) Wait() error                                           { return nil }
func (blank) Close() error                                          { return nil }
func (blank) CreatePipeline(_, _, _ string, _ []webgpu.Binding) (webgpu.Pipeline, error) {
	return 1, nil
}
func (blank) CreateBindGroup(webgpu.Pipeline, []webgpu.Range) (webgpu.BindGroup, error) {
	return 1, nil
}

// message returns a request of numbers and bytes.
func message(letter byte, numbers []int, parts ...string) []byte {
	var out bytes.Buffer
	w := newWire(nil, &out)
	w.request(letter, numbers...)
	for _, p := range parts {
		w.putBytes([]byte(p))
	}
	w.flush()
	return out.Bytes()
}

// FuzzServe is the child, to which a parent writes anything. Data that is asked for is the
// driver's to give, so that long reads are left out.
func FuzzServe(f *testing.F) {
	f.Add(message(createBuffer, []int{64, 3}))
	f.Add(append(message(write, []int{1, 0}, "data"), message(read, []int{1, 0, 4})...))
	f.Add(message(createPipeline, []int{0, 1, 2}, "label", "fn main() {}", "main"))
	f.Add(message(createBindGroup, []int{1, 1, 0, 4, 2, 0}))
	f.Add(append(message(submit, nil, "\x01\x00\x00\x00\x02"), message(closing, nil)...))
	f.Add(append(message(wait, nil), '?', 0xff, 0xff))
	f.Fuzz(func(t *testing.T, data []byte) {
		for at := 0; at < len(data); at++ {
			if rest := data[at:]; rest[0] == read && len(rest) >= 33 && binary.LittleEndian.Uint64(rest[25:]) > 1<<16 {
				return
			}
		}
		_ = fuzztest.Check(t, 2<<20+64*len(data), func() error {
			return Serve(func() (webgpu.GPU, error) { return blank{}, nil }, bytes.NewReader(data), io.Discard)
		})
	})
}

// FuzzAnswers is the parent, to which a child writes anything.
func FuzzAnswers(f *testing.F) {
	answer := func(write func(w *wire)) {
		var out bytes.Buffer
		w := newWire(nil, &out)
		write(w)
		w.flush()
		f.Add(out.Bytes())
	}
	answer(func(w *wire) { w.putError(nil); w.putInt(7) })
	answer(func(w *wire) { w.putError(io.ErrClosedPipe); w.putBytes([]byte("{}")) })
	answer(func(w *wire) { w.putInt(-1) })
	answer(func(w *wire) { w.putInts(1, 2, 3); w.putInt(longest) })
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = fuzztest.Check(t, 4<<20+64*len(data), func() error {
			w := newWire(bytes.NewReader(data), io.Discard)
			for range 8 {
				_ = w.getError()
				w.getInt()
				w.get(make([]byte, 3))
				if b := w.getBytes(); len(b) > len(data) {
					t.Fatalf("%d bytes of %d", len(b), len(data))
				}
			}
			return w.err
		})
	})
}
