// Package child runs a WebGPU driver in another process, for drivers that end
// their process when the adapter is lost or an allocation fails. The child's end
// becomes an error that wraps compute.ErrLost (or compute.ErrMemory), and a new
// child can be started.
//
// The parent writes requests to the child's standard input and reads answers from
// its standard output. A request is a letter, its numbers and its bytes; those that
// return nothing have no answer, so a stream of them runs without waiting.
package child

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// The requests, with their numbers and bytes.
const (
	createBuffer    = 'b' // bytes, usage
	destroyBuffer   = 'B' // buffer
	write           = 'w' // buffer, offset; data
	createPipeline  = 'p' // bindings…; label, shader, entry point
	createBindGroup = 'g' // pipeline, then buffer, offset and size of each range
	destroyGroup    = 'G' // bind group
	submit          = 's' // ; commands
	read            = 'r' // buffer, offset, bytes
	wait            = 'v'
	closing         = 'c'
)

// The largest parts that a message may have: bytes, and numbers.
const longest, mostNumbers = 1 << 31, 1 << 12

// wire writes and reads messages. The first error is kept.
type wire struct {
	in  *bufio.Reader
	out *bufio.Writer
	err error
}

func newWire(in io.Reader, out io.Writer) *wire {
	return &wire{in: bufio.NewReaderSize(in, 1<<16), out: bufio.NewWriterSize(out, 1<<16)}
}

func (w *wire) put(b []byte) {
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
}

func (w *wire) putInt(v int) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(v))
	w.put(b[:])
}

func (w *wire) putInts(v ...int) {
	w.putInt(len(v))
	for _, n := range v {
		w.putInt(n)
	}
}

func (w *wire) putBytes(b []byte) {
	w.putInt(len(b))
	w.put(b)
}

// request begins a message; its bytes follow with putBytes.
func (w *wire) request(letter byte, numbers ...int) {
	w.put([]byte{letter})
	w.putInts(numbers...)
}

func (w *wire) flush() {
	if w.err == nil {
		w.err = w.out.Flush()
	}
}

func (w *wire) get(b []byte) {
	if w.err == nil {
		_, w.err = io.ReadFull(w.in, b)
	}
	if w.err != nil {
		clear(b)
	}
}

func (w *wire) getInt() int {
	var b [8]byte
	w.get(b[:])
	return int(binary.LittleEndian.Uint64(b[:]))
}

// getLen reads the length of what follows.
func (w *wire) getLen(most int) int {
	n := w.getInt()
	if w.err == nil && (n < 0 || n > most) {
		w.err = fmt.Errorf("a message part of length %d, %d at most are possible", n, most)
	}
	if w.err != nil {
		return 0
	}
	return n
}

func (w *wire) getInts() []int {
	out := make([]int, w.getLen(mostNumbers))
	for i := range out {
		out[i] = w.getInt()
	}
	return out
}

// getBytes reads a part of announced length. Memory is taken as the bytes arrive.
func (w *wire) getBytes() []byte {
	n := w.getLen(longest)
	var b bytes.Buffer
	b.Grow(min(n, 1<<20))
	if w.err == nil {
		if _, w.err = io.CopyN(&b, w.in, int64(n)); w.err == io.EOF {
			w.err = io.ErrUnexpectedEOF
		}
	}
	return b.Bytes()
}

// kinds are the errors whose kind travels.
var kinds = []error{nil, compute.ErrLost, compute.ErrMemory}

// fault is an error of the other process.
type fault struct {
	text string
	kind error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.kind }

// putError writes an answer's error: nothing for none.
func (w *wire) putError(err error) {
	if err == nil {
		w.putInts()
		return
	}
	kind := 0
	for k, e := range kinds[1:] {
		if errors.Is(err, e) {
			kind = k + 1
		}
	}
	w.putInts(kind)
	w.putBytes([]byte(err.Error()))
}

func (w *wire) getError() error {
	k := w.getInts()
	if w.err != nil || len(k) == 0 {
		return nil
	}
	f := &fault{text: string(w.getBytes())}
	if k[0] > 0 && k[0] < len(kinds) {
		f.kind = kinds[k[0]]
	}
	return f
}

// raw returns a stream of commands as bytes of this machine; both processes run on it.
func raw(commands []int32) []byte {
	if len(commands) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&commands[0])), 4*len(commands))
}

func commands(b []byte) []int32 {
	out := make([]int32, len(b)/4)
	copy(raw(out), b)
	return out
}
