package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// array is a MATLAB array of single precision, column-major.
type array struct {
	dims   []int
	values []float32
}

// variable is a MATLAB cell array by its name.
type variable struct {
	name  string
	cells []array
}

// Types of data elements and classes of arrays in a MATLAB 5 file (MathWorks,
// MAT-File Format, tables 1-1 and 1-3).
const (
	miSINGLE = 7
	miMATRIX = 14
	mxCELL   = 1
	mxSINGLE = 7
)

var errShort = errors.New("the file ends inside an array")

// element takes the next data element off data.
func element(data []byte) (kind uint32, body, rest []byte, err error) {
	if len(data) < 8 {
		return 0, nil, nil, errShort
	}
	kind, size := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
	if kind>>16 != 0 { // the small format: at most four bytes inside the tag
		if kind>>16 > 4 {
			return 0, nil, nil, errShort
		}
		return kind & 0xffff, data[4 : 4+kind>>16], data[8:], nil
	}
	data = data[8:]
	padded := (int(size) + 7) / 8 * 8
	if int(size) > len(data) {
		return 0, nil, nil, errShort
	}
	return kind, data[:size], data[min(padded, len(data)):], nil
}

// readCells reads the cell arrays of an uncompressed little-endian MATLAB 5 file.
func readCells(data []byte) ([]variable, error) {
	const header = 128
	if len(data) < header || string(data[126:128]) != "IM" {
		return nil, errors.New("not a little-endian MATLAB 5 file")
	}
	var out []variable
	for data = data[header:]; len(data) > 0; {
		kind, body, rest, err := element(data)
		if err != nil {
			return nil, err
		}
		data = rest
		if kind != miMATRIX {
			return nil, fmt.Errorf("element of type %d, want arrays (14)", kind)
		}
		class, _, name, body, err := arrayHead(body)
		if err != nil {
			return nil, err
		}
		if class != mxCELL {
			return nil, fmt.Errorf("array %q of class %d, want a cell array (1)", name, class)
		}
		v := variable{name: name}
		for len(body) > 0 {
			kind, cell, rest, err := element(body)
			if err != nil {
				return nil, err
			}
			body = rest
			if kind != miMATRIX {
				return nil, fmt.Errorf("%q: cell of type %d, want an array (14)", name, kind)
			}
			a, err := single(cell)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", name, err)
			}
			v.cells = append(v.cells, a)
		}
		out = append(out, v)
	}
	return out, nil
}

// arrayHead reads an array's class, dimensions and name.
func arrayHead(body []byte) (class byte, dims []int, name string, rest []byte, err error) {
	var parts [3][]byte // flags, dimensions, name
	for i := range parts {
		if _, parts[i], body, err = element(body); err != nil {
			return 0, nil, "", nil, err
		}
	}
	if len(parts[0]) < 4 {
		return 0, nil, "", nil, errShort
	}
	for d := parts[1]; len(d) >= 4; d = d[4:] {
		dims = append(dims, int(binary.LittleEndian.Uint32(d)))
	}
	return parts[0][0], dims, string(parts[2]), body, nil
}

// single reads an array of single precision.
func single(body []byte) (array, error) {
	class, dims, _, body, err := arrayHead(body)
	if err != nil {
		return array{}, err
	}
	kind, values, _, err := element(body)
	if err != nil {
		return array{}, err
	}
	a := array{dims: dims}
	count := 1
	for _, d := range dims {
		if d > 0 && count > len(values)/d { // more than there are; the product may overflow
			count = -1
			break
		}
		count *= d
	}
	if class != mxSINGLE || kind != miSINGLE || len(values) != 4*count {
		return array{}, fmt.Errorf("array %v of class %d, %d bytes of type %d, want singles (7)", dims, class, len(values), kind)
	}
	for ; len(values) > 0; values = values[4:] {
		a.values = append(a.values, math.Float32frombits(binary.LittleEndian.Uint32(values)))
	}
	return a, nil
}
