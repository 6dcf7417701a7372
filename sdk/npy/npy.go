// Package npy reads and writes NumPy's array files (.npy, NEP 1). Package tensor
// writes them and turns arrays round; its reader takes few types and panics on
// damaged files, so reading is done here.
package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gorgonia.org/tensor"
)

// MaxDim bounds each dimension of an array that is read.
const MaxDim = 1 << 24

// MaxValues bounds the values of an array that is read.
const MaxValues = 1 << 28

const magic = "\x93NUMPY"

// headerEntry finds the three entries of a header, in any order.
var headerEntry = map[string]*regexp.Regexp{
	"descr": regexp.MustCompile(`'descr':\s*'([^']*)'`),
	"order": regexp.MustCompile(`'fortran_order':\s*(True|False)`),
	"shape": regexp.MustCompile(`'shape':\s*\(([\d,\s]*)\)`),
}

// number reads a number from its bytes.
type number struct {
	size int
	of   func(p []byte, order binary.ByteOrder) float64
}

// numbers are the types that are read, without the byte order.
var numbers = map[string]number{
	"f8": {8, func(p []byte, o binary.ByteOrder) float64 { return math.Float64frombits(o.Uint64(p)) }},
	"f4": {4, func(p []byte, o binary.ByteOrder) float64 { return float64(math.Float32frombits(o.Uint32(p))) }},
	"f2": {2, func(p []byte, o binary.ByteOrder) float64 { return half(o.Uint16(p)) }},
	"i8": {8, func(p []byte, o binary.ByteOrder) float64 { return float64(int64(o.Uint64(p))) }},
	"i4": {4, func(p []byte, o binary.ByteOrder) float64 { return float64(int32(o.Uint32(p))) }},
	"i2": {2, func(p []byte, o binary.ByteOrder) float64 { return float64(int16(o.Uint16(p))) }},
	"i1": {1, func(p []byte, _ binary.ByteOrder) float64 { return float64(int8(p[0])) }},
	"u8": {8, func(p []byte, o binary.ByteOrder) float64 { return float64(o.Uint64(p)) }},
	"u4": {4, func(p []byte, o binary.ByteOrder) float64 { return float64(o.Uint32(p)) }},
	"u2": {2, func(p []byte, o binary.ByteOrder) float64 { return float64(o.Uint16(p)) }},
	"u1": {1, func(p []byte, _ binary.ByteOrder) float64 { return float64(p[0]) }},
	"b1": {1, func(p []byte, _ binary.ByteOrder) float64 { return float64(p[0]) }},
}

// half returns the value of an IEEE 754 half-precision number.
func half(bits uint16) float64 {
	sign, exponent, fraction := 1-2*float64(bits>>15), int(bits>>10&31), float64(bits&1023)
	switch {
	case exponent == 31 && fraction == 0:
		return sign * math.Inf(1)
	case exponent == 31:
		return math.NaN()
	case exponent == 0:
		return sign * math.Ldexp(fraction, -24)
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// header is what stands before an array's values.
type header struct {
	kind    string // of the numbers, with their byte order: "<f4"
	fortran bool
	shape   []int
	count   int // of the values
}

func readHeader(r io.Reader) (h header, err error) {
	head := make([]byte, 10)
	if n, err := io.ReadFull(r, head); err != nil || string(head[:6]) != magic {
		return h, fmt.Errorf("not a NumPy array (it starts with %q)", head[:n])
	}
	size := int(binary.LittleEndian.Uint16(head[8:]))
	if head[6] > 1 { // versions 2 and 3 have four bytes of length
		more := make([]byte, 2)
		if _, err := io.ReadFull(r, more); err != nil {
			return h, err
		}
		size |= int(binary.LittleEndian.Uint16(more)) << 16
	}
	if size > 1<<16 {
		return h, fmt.Errorf("header of %d bytes, at most 65536 are read", size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, err
	}
	entry := map[string]string{}
	for key, pattern := range headerEntry {
		match := pattern.FindSubmatch(text)
		if match == nil {
			return h, fmt.Errorf("NumPy header without %s: %.80q", key, text)
		}
		entry[key] = string(match[1])
	}
	h = header{kind: entry["descr"], fortran: entry["order"] == "True", count: 1}
	for _, d := range strings.FieldsFunc(entry["shape"], func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(d)
		if err != nil || n < 1 || n > MaxDim || len(h.shape) == 3 || h.count > MaxValues/n {
			return h, fmt.Errorf("shape %.100q, want one to three dimensions of 1 to %d, and at most %d values", "("+entry["shape"]+")", MaxDim, MaxValues)
		}
		h.shape = append(h.shape, n)
		h.count *= n
	}
	return h, nil
}

// Read reads an array of one to three dimensions, each 1 to [MaxDim], of floats of 16, 32
// or 64 bits, integers or booleans in either byte order, in C or Fortran order. The
// values are row-major. An array has at most [MaxValues] of them.
func Read(r io.Reader) (values []float64, shape []int, err error) {
	return ReadAs(r, func(v float64) (float64, error) { return v, nil })
}

// ReadAs is [Read] with every value mapped by f as it is read, in the file's order. An error of f
// ends it.
func ReadAs[F float32 | float64](r io.Reader, f func(float64) (F, error)) (values []F, shape []int, err error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, nil, err
	}
	values, err = readValues(r, h.kind, h.count, f)
	if err == nil && h.fortran && len(h.shape) > 1 {
		reversed := slices.Clone(h.shape)
		slices.Reverse(reversed)
		turned := tensor.New(tensor.WithShape(reversed...), tensor.WithBacking(values))
		if err = errors.Join(turned.T(), turned.Transpose()); err == nil {
			values = turned.Data().([]F)
		}
	}
	return values, h.shape, err
}

func readValues[F float32 | float64](r io.Reader, kind string, count int, f func(float64) (F, error)) (values []F, err error) {
	one, known := numbers[strings.TrimLeft(kind, "<>|")]
	if !known {
		return nil, fmt.Errorf("numbers of type %q, want floats, integers or booleans: save them with astype('float32')", kind)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if kind[0] == '>' {
		order = binary.BigEndian
	}
	p := make([]byte, one.size)
	for range count {
		if _, err := io.ReadFull(r, p); err != nil {
			return nil, fmt.Errorf("value %d of %d: %w", len(values), count, err)
		}
		v, err := f(one.of(p, order))
		if err != nil {
			return nil, fmt.Errorf("value %d of %d: %w", len(values), count, err)
		}
		if len(values) == cap(values) {
			values = append(make([]F, 0, nextCap(len(values), count)), values...)
		}
		values = append(values, v)
	}
	return values, nil
}

// nextCap returns for how many of count values to have memory when so many are there: a part of
// count by a power of 4, so that a header that claims too much costs little, and that the last but
// one, which is copied, is a quarter of the last.
func nextCap(have, count int) int {
	for part := count; ; part = (part + 3) / 4 {
		if next := (part + 3) / 4; next <= have || part <= 1024 {
			return part
		}
	}
}

// Write writes an array of float32 or float64, row-major, little-endian.
func Write[F float32 | float64](w io.Writer, values []F, shape ...int) error {
	if count := tensor.Shape(shape).TotalSize(); count != len(values) {
		return fmt.Errorf("npy: %d values for shape %v", len(values), shape)
	}
	var whole bytes.Buffer // a failing writer's error then comes as it is
	if err := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values)).WriteNpy(&whole); err != nil {
		return err
	}
	_, err := whole.WriteTo(w)
	return err
}
