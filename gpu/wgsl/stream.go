package wgsl

import (
	"encoding/binary"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

const (
	// uniformBytes is the size of the window that a kernel sees of a stream's uniforms.
	uniformBytes = 1024
	// streamBytes is the uniforms that one buffer holds: those of some thousand calls.
	streamBytes = 1 << 18
)

// The work of one submit, in floating-point operations: well under a second, so
// that a step can be cancelled and no watchdog bites.
const (
	softwareSubmit = 1e9
	hardwareSubmit = 5e10
)

func (d *Device) submitWork() float64 {
	if d.limits.Software {
		return softwareSubmit
	}
	return hardwareSubmit
}

// stream collects commands and their uniforms. That of the device is submitted
// when it is long enough, or when a result is wanted; a recording's is kept.
type stream struct {
	dev      *Device
	records  bool
	uniform  *block
	data     []byte  // uniforms not yet written
	commands []int32 // since the last submit
	work     float64

	submits  [][]int32 // of a recording
	uniforms []*block
	scratch  map[*block]bool // blocks of the device's own that the recording needs
}

func (d *Device) newStream(records bool) (*stream, error) {
	s := &stream{dev: d, records: records}
	if records {
		s.scratch = map[*block]bool{}
	}
	var err error
	s.uniform, err = d.uniformBlock()
	return s, err
}

func (d *Device) uniformBlock() (*block, error) {
	const bytes = streamBytes + uniformBytes
	id, err := d.gpu.CreateBuffer(bytes, webgpu.Uniform)
	if err != nil {
		return nil, err
	}
	return &block{id: id, bytes: bytes}, nil
}

// add appends a dispatch.
func (s *stream) add(p webgpu.Pipeline, blocks []*block, params []parameter, groups [3]int, work float64) {
	d := s.dev
	align := max(16, d.limits.UniformAlignment)
	offset := ceil(len(s.data), align) * align
	if size := 4 * len(params); offset+size > streamBytes {
		s.cut()
		if d.Err() != nil {
			return
		}
		offset = 0
	}
	g, err := d.bindGroup(p, blocks, s.uniform)
	if err != nil {
		d.Fail(err)
		return
	}
	for len(s.data) < offset {
		s.data = append(s.data, 0)
	}
	for _, v := range params {
		s.data = binary.LittleEndian.AppendUint32(s.data, v.bits)
	}
	s.commands = append(s.commands, webgpu.CmdDispatch, int32(p), int32(g), int32(offset),
		int32(groups[0]), int32(groups[1]), int32(groups[2]))
	if s.records {
		for _, b := range blocks {
			if b.scratch && !s.scratch[b] {
				s.scratch[b] = true
				b.kept++
			}
		}
	}
	s.spend(work)
}

// copy appends a copy of bytes between blocks.
func (s *stream) copy(dst *block, to int, src *block, from, bytes int) {
	s.commands = append(s.commands, webgpu.CmdCopy, int32(src.id), int32(from), int32(dst.id), int32(to), int32(bytes))
}

// spend counts work and submits when it is enough.
func (s *stream) spend(work float64) {
	s.work += work
	if s.work < s.dev.submitWork() {
		return
	}
	if s.records {
		s.submits = append(s.submits, s.commands)
		s.commands, s.work = nil, 0
	} else {
		s.flush()
	}
}

// cut makes room for more uniforms.
func (s *stream) cut() {
	if !s.records {
		s.flush()
		return
	}
	s.write()
	s.uniforms = append(s.uniforms, s.uniform)
	var err error
	if s.uniform, err = s.dev.uniformBlock(); err != nil {
		s.dev.Fail(err)
	}
}

// write gives the collected uniforms to the adapter.
func (s *stream) write() {
	if len(s.data) > 0 {
		s.dev.gpu.WriteBuffer(s.uniform.id, 0, s.data)
		s.data = s.data[:0]
	}
}

// flush submits what has been collected.
func (s *stream) flush() {
	if s.records || len(s.commands) == 0 {
		return
	}
	if s.dev.Err() == nil {
		s.write()
		s.dev.gpu.Submit(s.commands)
	}
	s.commands, s.data, s.work = s.commands[:0], s.data[:0], 0
}

// now queues what calls calls at once, also while a recording is made.
func (d *Device) now(calls func()) {
	outer := d.stream
	d.stream = d.immediate
	calls()
	d.stream.flush()
	d.stream = outer
}

// recording implements [compute.Recording].
type recording struct {
	dev      *Device
	submits  [][]int32
	uniforms []*block
	scratch  map[*block]bool
}

// Record implements [compute.Recorder].
func (d *Device) Record(calls func()) compute.Recording {
	d.stream.flush()
	outer := d.stream
	s, err := d.newStream(true)
	if err != nil {
		d.Fail(err)
		return &recording{dev: d}
	}
	d.stream = s
	calls()
	d.stream = outer
	s.write()
	r := &recording{d, s.submits, append(s.uniforms, s.uniform), s.scratch}
	if len(s.commands) > 0 {
		r.submits = append(r.submits, s.commands)
	}
	r.Replay()
	return r
}

// Replay implements [compute.Recording].
func (r *recording) Replay() {
	r.dev.stream.flush()
	for _, commands := range r.submits {
		if r.dev.Err() == nil {
			r.dev.gpu.Submit(commands)
		}
	}
}

// Free implements [compute.Recording].
func (r *recording) Free() {
	for _, b := range r.uniforms {
		r.dev.unbind(b)
		r.dev.gpu.DestroyBuffer(b.id)
	}
	for b := range r.scratch {
		if b.kept--; !b.scratch && b.kept == 0 {
			r.dev.release(b)
		}
	}
	*r = recording{dev: r.dev}
}
