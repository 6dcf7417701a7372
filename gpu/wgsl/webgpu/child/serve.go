package child

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

// Serve opens a driver and does what a parent asks for on in, until it closes the
// driver or ends.
func Serve(open func() (webgpu.GPU, error), in io.Reader, out io.Writer) error {
	w := newWire(in, out)
	g, err := open()
	w.putError(err)
	if err == nil {
		info, err := json.Marshal(g.Info())
		if err != nil {
			return err
		}
		w.putBytes(info)
	}
	w.flush()
	if err != nil {
		return nil // the parent knows it
	}
	for w.err == nil {
		letter, err := w.in.ReadByte()
		if err == io.EOF { // the parent has ended
			return g.Close()
		}
		if err != nil {
			return err
		}
		numbers := w.getInts()
		if w.err != nil {
			break // the request was cut
		}
		if err := answer(w, g, letter, numbers); err != nil || letter == closing {
			return err
		}
	}
	return w.err
}

// answer does one request.
func answer(w *wire, g webgpu.GPU, letter byte, n []int) error {
	if want := map[byte]int{createBuffer: 2, destroyBuffer: 1, write: 2, createBindGroup: 1, destroyGroup: 1, read: 3}[letter]; len(n) < want {
		return fmt.Errorf("request %q with %d numbers, %d are wanted", letter, len(n), want)
	}
	number := func(id int32, err error) {
		w.putError(err)
		w.putInt(int(id))
		w.flush()
	}
	switch letter {
	case createBuffer:
		b, err := g.CreateBuffer(n[0], webgpu.Usage(n[1]))
		number(int32(b), err)
	case destroyBuffer:
		g.DestroyBuffer(webgpu.Buffer(n[0]))
	case write:
		if data := w.getBytes(); w.err == nil {
			g.WriteBuffer(webgpu.Buffer(n[0]), n[1], data)
		}
	case createPipeline:
		bindings := make([]webgpu.Binding, len(n))
		for i, b := range n {
			bindings[i] = webgpu.Binding(b)
		}
		label, shader, entry := string(w.getBytes()), string(w.getBytes()), string(w.getBytes())
		p, err := g.CreatePipeline(label, shader, entry, bindings)
		number(int32(p), err)
	case createBindGroup:
		var ranges []webgpu.Range
		for i := 1; i+2 < len(n); i += 3 {
			ranges = append(ranges, webgpu.Range{Buffer: webgpu.Buffer(n[i]), Offset: n[i+1], Size: n[i+2]})
		}
		b, err := g.CreateBindGroup(webgpu.Pipeline(n[0]), ranges)
		number(int32(b), err)
	case destroyGroup:
		g.DestroyBindGroup(webgpu.BindGroup(n[0]))
	case submit:
		if stream := w.getBytes(); w.err == nil {
			g.Submit(commands(stream))
		}
	case read:
		if n[2] < 0 || n[2] > longest {
			return fmt.Errorf("a read of %d bytes", n[2])
		}
		data := make([]byte, n[2])
		err := g.Read(data, webgpu.Buffer(n[0]), n[1])
		w.putError(err)
		if err == nil {
			w.put(data)
		}
		w.flush()
	case wait:
		w.putError(g.Wait())
		w.flush()
	case closing:
		w.putError(g.Close())
		w.flush()
	default:
		return fmt.Errorf("unknown request %q", letter)
	}
	return w.err
}
