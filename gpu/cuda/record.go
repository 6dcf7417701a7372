package cuda

import (
	"bytes"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// recording is a sequence of launches, and the CUDA graph made of them.
type recording struct {
	d        *Device
	launches []recorded
	graph    Graph
}

type recorded struct {
	kernel      Kernel
	grid, block [3]uint32
	shared      uint32
	args        []byte
}

func (r *recording) add(k Kernel, grid, block [3]uint32, shared uint32, args []byte) {
	r.launches = append(r.launches, recorded{k, grid, block, shared, bytes.Clone(args)})
}

// Record implements [compute.Recorder]. The calls run at once, which also lays out
// weights that are used for the first time; the launches seen become a graph.
func (d *Device) Record(calls func()) compute.Recording {
	r := &recording{d: d}
	d.tape = r
	calls()
	d.tape = nil
	if d.Err() != nil || len(r.launches) == 0 {
		return r
	}
	d.driver.BeginCapture()
	for _, l := range r.launches {
		d.driver.Launch(l.kernel, l.grid, l.block, l.shared, l.args)
	}
	graph, err := d.driver.EndCapture()
	d.Fail(err)
	r.graph, r.launches = graph, nil
	return r
}

// untaped runs launches that are no part of a recording: preparations that are
// made once.
func (d *Device) untaped(calls func()) {
	tape := d.tape
	d.tape = nil
	calls()
	d.tape = tape
}

// Replay implements [compute.Recording].
func (r *recording) Replay() {
	if r.graph != 0 && r.d.Err() == nil {
		r.d.driver.LaunchGraph(r.graph)
	}
}

// Free implements [compute.Recording].
func (r *recording) Free() {
	if r.graph != 0 {
		r.d.driver.FreeGraph(r.graph)
		r.graph = 0
	}
}
