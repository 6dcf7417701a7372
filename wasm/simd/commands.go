//go:build js

package simd

import (
	"errors"
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// command is a kernel's number, as in kernels/device.h.
type command int32

const (
	cmdConv command = iota
	cmdResample
	cmdSeparable
	cmdCorrelate
	cmdNorm
	cmdNormAdjoint
	cmdNormTangent
	cmdNormSecond
	cmdAttention
	cmdAttentionAdjoint
	cmdCombine
	cmdAddChannel
	cmdMul
	cmdMap
	cmdDot
	cmdPackWeights
	cmdTransformWeights
	cmdNormals
)

// call queues a command with its arguments, as the kernel's struct lists them:
// tensors, addresses, whole numbers, float32s, booleans, and padding.
func (d *Device) call(c command, args ...any) {
	if !d.recording && len(d.words) > queueWords/2 {
		d.flush()
	}
	d.words = encode(d.words, c, args)
	if !d.recording && len(d.words) > queueWords { // a long one: on its own
		d.flush()
	}
}

// words is a number of empty words: fields of the kernel's struct that the kernel itself
// sets.
type words int

func encode(to []int32, c command, args []any) []int32 {
	to = append(to, int32(c), 0)
	start := len(to)
	for _, a := range args {
		switch a := a.(type) {
		case compute.Tensor:
			if a.Buf == nil {
				to = append(to, 0, 1, 1, 1, 1, 0)
				continue
			}
			to = append(to, int32(at(a)), int32(a.N), int32(a.C), int32(a.H), int32(a.W), int32(a.Pitch))
		case address:
			to = append(to, int32(a))
		case int:
			to = append(to, int32(a))
		case float32:
			to = append(to, int32(math.Float32bits(a)))
		case bool:
			if a {
				to = append(to, 1)
			} else {
				to = append(to, 0)
			}
		case words:
			to = append(to, make([]int32, a)...)
		default:
			panic(fmt.Sprintf("simd: argument of type %T", a))
		}
	}
	to[start-1] = int32(len(to) - start)
	return to
}

// flush runs what is queued.
func (d *Device) flush() {
	if d.recording || len(d.words) == 0 {
		return
	}
	if d.Err() == nil {
		d.submit(d.words)
	}
	d.words = d.words[:0]
}

// submit copies commands to the module and runs them.
func (d *Device) submit(commands []int32) {
	if len(commands) <= queueWords {
		copyTo(d.commands, commands)
		d.check(run(d.commands, int32(len(commands))))
		return
	}
	room, err := d.allocate(4 * len(commands))
	if err != nil {
		d.Fail(err)
		return
	}
	copyTo(room, commands)
	d.check(run(room, int32(len(commands))))
	freeBytes(room)
}

func (d *Device) check(code int32) {
	switch code {
	case 0:
	case 1:
		d.Fail(fmt.Errorf("scratch of a kernel: %w", compute.ErrMemory))
	case 2:
		d.Fail(errors.New("the kernels' module does not know a command: it belongs to another version"))
	default:
		d.Fail(errors.New("a kernel was stopped by a trap, which the console names"))
	}
}

// recording holds commands in the module's memory.
type recording struct {
	d        *Device
	commands address
	words    int32
}

// Record implements [compute.Recorder].
func (d *Device) Record(calls func()) compute.Recording {
	d.flush()
	d.recording = true
	calls()
	d.recording = false
	commands := d.words
	d.words = nil
	r := &recording{d: d}
	if d.Err() != nil || len(commands) == 0 {
		return r
	}
	var err error
	if r.commands, err = d.allocate(4 * len(commands)); err != nil {
		d.Fail(err)
		return r
	}
	r.words = int32(len(commands))
	copyTo(r.commands, commands)
	r.Replay()
	return r
}

// Replay implements [compute.Recording].
func (r *recording) Replay() {
	r.d.flush()
	if r.commands != 0 && r.d.Err() == nil {
		r.d.check(run(r.commands, r.words))
	}
}

// Free implements [compute.Recording].
func (r *recording) Free() {
	freeBytes(r.commands)
	r.commands = 0
}
