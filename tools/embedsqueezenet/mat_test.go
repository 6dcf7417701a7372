package main

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
)

// data returns a data element.
func data(kind uint32, body []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, kind)
	out = append(binary.LittleEndian.AppendUint32(out, uint32(len(body))), body...)
	return append(out, make([]byte, -len(body)&7)...)
}

// numbers returns little-endian words.
func numbers(v ...uint32) (out []byte) {
	for _, n := range v {
		out = binary.LittleEndian.AppendUint32(out, n)
	}
	return out
}

// matrix returns an array with its head.
func matrix(class, name string, dims []byte, rest ...byte) []byte {
	body := append(data(6, append([]byte(class), make([]byte, 7)...)), data(5, dims)...)
	return data(miMATRIX, append(append(body, data(1, []byte(name))...), rest...))
}

// matFile returns a file with one cell array of one array of singles.
func matFile(dims []byte, values ...byte) []byte {
	file := append(make([]byte, 126), "IM"...)
	return append(file, matrix("\x01", "cells", numbers(1, 1), matrix("\x07", "", dims, data(miSINGLE, values)...)...)...)
}

func TestReadCells(t *testing.T) {
	values := numbers(math.Float32bits(1), math.Float32bits(-2))
	got, err := readCells(matFile(numbers(1, 2), values...))
	require.NoError(t, err)
	require.Equal(t, []variable{{"cells", []array{{[]int{1, 2}, []float32{1, -2}}}}}, got)
	for _, dims := range [][]byte{numbers(2, 2), numbers(1<<31, 1<<31, 4), numbers(math.MaxUint32, math.MaxUint32, 2)} {
		_, err = readCells(matFile(dims, values...))
		require.ErrorContains(t, err, "want singles")
	}
}

// FuzzMat reads MATLAB files: arrays have as many values as their dimensions say.
func FuzzMat(f *testing.F) {
	f.Add(matFile(numbers(1, 2), numbers(math.Float32bits(1), math.Float32bits(-2))...)[128:])
	f.Add(matFile(numbers(1<<31, 1<<31, 4))[128:])
	f.Add(numbers(miMATRIX, 0))
	f.Fuzz(func(t *testing.T, body []byte) {
		file := append(append(make([]byte, 126), "IM"...), body...)
		_ = fuzztest.Check(t, 1<<20+64*len(file), func() error {
			all, err := readCells(file)
			for _, v := range all {
				for _, a := range v.cells {
					count := 1
					for _, d := range a.dims {
						if count *= d; count < 0 || count > len(file) {
							t.Fatalf("dimensions %v of %d bytes", a.dims, len(file))
						}
					}
					if count != len(a.values) {
						t.Fatalf("%d values of %v", len(a.values), a.dims)
					}
				}
			}
			return err
		})
	})
}
