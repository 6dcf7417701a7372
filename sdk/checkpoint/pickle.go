package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// A pickle is a program for a stack machine. This one runs the part of it that
// builds dicts, lists, tuples, numbers, strings and tensors, of protocols 2 to 5.
// Its values are nil, bool, int64, float64, string, long, tuple, *list, *dict and
// those of pytorch.go.
type (
	tuple []any
	list  struct{ items []any }
	// long is an integer of more than 64 bits, little-endian in two's complement.
	long string
	// dict is a dict or an OrderedDict. Values under keys other than strings are
	// dropped: they can not be named tensors.
	dict struct {
		keys   []string // in order of insertion
		values map[string]any
	}
)

// Limits of the machine. A state dict takes about 25 opcodes and 150 bytes a tensor;
// Python writes containers in batches of 1000 values.
const (
	maxOps    = 1 << 21
	maxStack  = 1 << 16
	maxString = 1 << 16 // bytes
	maxPickle = 1 << 26 // bytes
)

// source is a stream of bytes with a known end, holding one or more pickles.
type source struct {
	r        io.ReaderAt
	buf      *bufio.Reader
	pos, end int64
	storages map[string]storage // all that the pickles named, by key
}

func newSource(r io.ReaderAt, at, n int64) *source {
	return &source{r: r, buf: bufio.NewReaderSize(io.NewSectionReader(r, at, n), 1<<14), pos: at, end: at + n, storages: map[string]storage{}}
}

// take reads n bytes, which must be there before memory is asked for.
func (s *source) take(n uint64) ([]byte, error) {
	if n > uint64(s.end-s.pos) {
		return nil, fmt.Errorf("%d bytes wanted, %d left: the file is cut off or damaged", n, s.end-s.pos)
	}
	p := make([]byte, n)
	_, err := io.ReadFull(s.buf, p)
	s.pos += int64(n)
	return p, noEOF(err)
}

// machine is a pickle being run. After its first error it does nothing more: pop
// gives nil, push drops, and run reports the error.
type machine struct {
	in     *source
	stack  []any
	marks  []int // heights of the stack
	memo   map[uint64]any
	start  int64 // of the pickle, in bytes of the file; runs of bytes in it are not counted
	nested bool  // in a run of bytes of another pickle
	work   int   // see charge
	err    error
}

// What the machine's work costs: an operation 1, and beside it
const (
	costItem   = 1  // an item that is copied
	costObject = 2  // a tuple or a list
	costEntry  = 4  // an entry of a dict or of the memo
	costDict   = 8  // a dict or a storage
	costTensor = 64 // a tensor's description
	// freeWork is what a pickle of any size may do.
	freeWork = 1 << 16
)

// charge counts work, which a pickle may do in proportion to its bytes: a few of them may
// otherwise build gigabytes from values that the memo repeats. A state dict takes less than
// 1 a byte, and may take 2.
func (m *machine) charge(n int) {
	if m.work += n; int64(m.work) > freeWork+2*(m.in.pos-m.start) {
		m.fail("%d bytes build more than a checkpoint's do", m.in.pos-m.start)
	}
}

// unpickle runs the pickle at the source's position and returns what it builds.
func unpickle(in *source) (any, error) { return (&machine{in: in}).run() }

func (m *machine) run() (any, error) {
	in := m.in
	m.memo, m.start = map[uint64]any{}, in.pos
	for ops := 0; m.err == nil; ops++ {
		op := m.number(1)
		if m.err == nil && byte(op) == opStop {
			if v := m.pop(); m.err == nil {
				return v, nil
			}
		}
		if ops == maxOps || in.pos-m.start > maxPickle {
			m.fail("longer than %d operations or %d bytes", maxOps, maxPickle)
		}
		if m.charge(1); m.err == nil {
			m.step(byte(op))
		}
	}
	return nil, fmt.Errorf("pickle, byte %d: %w", in.pos, m.err)
}

func (m *machine) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

// bytes reads n bytes.
func (m *machine) bytes(n uint64) []byte {
	if m.err != nil {
		return nil
	}
	if n > maxString {
		m.fail("string of %d bytes, at most %d are read", n, maxString)
		return nil
	}
	p, err := m.in.take(n)
	m.err = err
	return p
}

// number reads an unsigned little-endian number of n ≤ 8 bytes.
func (m *machine) number(n uint64) uint64 {
	var p [8]byte
	copy(p[:], m.bytes(n))
	return le.Uint64(p[:])
}

// line reads up to a line feed.
func (m *machine) line() string {
	var text []byte
	for m.err == nil {
		c := byte(m.number(1))
		if c == '\n' {
			break
		}
		if text = append(text, c); len(text) > 256 {
			m.fail("name of a global without an end")
		}
	}
	return string(text)
}

func (m *machine) push(v any) {
	if len(m.stack) == maxStack {
		m.fail("more than %d values on the stack", maxStack)
	}
	if m.err == nil {
		m.stack = append(m.stack, v)
	}
}

// floor returns the height below which values belong to an open mark.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

// pops removes the n upper values, oldest first. A push overwrites them.
func (m *machine) pops(n int) []any {
	if m.err == nil && len(m.stack)-n < m.floor() {
		m.fail("the stack holds too few values")
	}
	if m.err != nil {
		return make([]any, n)
	}
	top := m.stack[len(m.stack)-n:]
	m.stack = m.stack[:len(m.stack)-n]
	return top
}

func (m *machine) pop() any { return m.pops(1)[0] }

// popMark removes the values above the last mark and the mark.
func (m *machine) popMark() []any {
	if len(m.marks) == 0 {
		m.fail("no mark on the stack")
		return nil
	}
	values := m.pops(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return values
}

// mark remembers the height of the stack.
func (m *machine) mark() {
	if len(m.marks) == maxStack {
		m.fail("more than %d marks on the stack", maxStack)
		return
	}
	m.marks = append(m.marks, len(m.stack))
}

// top returns the uppermost value, which stays.
func (m *machine) top() any {
	v := m.pop()
	m.push(v)
	return v
}

// put stores the uppermost value under a number, get pushes it again.
func (m *machine) put(key uint64) {
	m.charge(costEntry)
	m.memo[key] = m.top()
}

func (m *machine) get(key uint64) {
	v, ok := m.memo[key]
	if !ok {
		m.fail("memo %d is not set", key)
	}
	m.push(v)
}

// long pushes an integer of n bytes in two's complement.
func (m *machine) long(n uint64) {
	p := m.bytes(n)
	if len(p) > 8 {
		m.push(long(p))
		return
	}
	var v int64
	for i, b := range slices.Backward(p) {
		if i == len(p)-1 {
			v = int64(int8(b))
		} else {
			v = v<<8 | int64(b)
		}
	}
	m.push(v)
}

// float pushes a big-endian double.
func (m *machine) float() {
	if p := m.bytes(8); m.err == nil {
		m.push(math.Float64frombits(binary.BigEndian.Uint64(p)))
	}
}

// extend appends to the list on top.
func (m *machine) extend(items []any) {
	l, ok := m.top().(*list)
	if !ok {
		m.fail("append to what is not a list")
		return
	}
	m.charge(costItem * len(items))
	l.items = append(l.items, items...)
}

// set enters alternating keys and values into the dict on top.
func (m *machine) set(items []any) {
	d, ok := m.top().(*dict)
	if !ok || len(items)%2 != 0 {
		m.fail("items for what is not a dict, or a key without a value")
		return
	}
	m.charge(costEntry * len(items) / 2)
	for i := 0; i < len(items) && m.err == nil; i += 2 {
		if err := d.set(items[i], items[i+1]); err != nil {
			m.fail("%w", err)
		}
	}
}

// tuple pushes a tuple of items.
func (m *machine) tuple(items []any) {
	m.charge(costObject + costItem*len(items))
	m.push(append(tuple{}, items...))
}

func newDict() *dict { return &dict{values: map[string]any{}} }

func (d *dict) set(key, value any) error {
	name, ok := key.(string)
	if !ok {
		return nil
	}
	if _, twice := d.values[name]; twice {
		return fmt.Errorf("key %q occurs twice", name)
	}
	d.keys = append(d.keys, name)
	d.values[name] = value
	return nil
}

// build gives the object on top its state. That of an OrderedDict, the table _metadata of
// module versions, is dropped, and so are those of NumPy's types.
func (m *machine) build() {
	state := m.pop()
	switch top := m.top().(type) {
	case *object:
		if d, ok := state.(*dict); ok {
			top.state = d
			return
		}
	case numberType:
		return
	case *dict:
		if _, ok := state.(*dict); ok {
			return
		}
	}
	m.fail("state for an object that has none here")
}
