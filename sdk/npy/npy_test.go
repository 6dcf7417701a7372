package npy_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// file returns an array file of that type, order and shape.
func file(kind, fortran, shape string, data any, order binary.ByteOrder) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", kind, fortran, shape)
	var out bytes.Buffer
	out.WriteString("\x93NUMPY\x01\x00")
	out.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(header))))
	out.WriteString(header)
	if err := binary.Write(&out, order, data); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func TestReadTypes(t *testing.T) {
	little, big := binary.LittleEndian, binary.BigEndian
	want := []float64{1, 2, 3, 4}
	for kind, data := range map[string]any{
		"<f8": []float64{1, 2, 3, 4}, "<f4": []float32{1, 2, 3, 4}, "<f2": []uint16{0x3c00, 0x4000, 0x4200, 0x4400},
		"<i8": []int64{1, 2, 3, 4}, "<i4": []int32{1, 2, 3, 4}, "<i2": []int16{1, 2, 3, 4}, "|i1": []int8{1, 2, 3, 4},
		"<u8": []uint64{1, 2, 3, 4}, "<u4": []uint32{1, 2, 3, 4}, "<u2": []uint16{1, 2, 3, 4}, "|u1": []uint8{1, 2, 3, 4},
	} {
		got, shape, err := npy.Read(bytes.NewReader(file(kind, "False", "(2, 2)", data, little)))
		require.NoError(t, err, kind)
		require.Equal(t, want, got, kind)
		require.Equal(t, []int{2, 2}, shape)
		got, _, err = npy.Read(bytes.NewReader(file(">"+kind[1:], "True", "(2, 2)", data, big)))
		require.NoError(t, err, kind)
		require.Equal(t, []float64{1, 3, 2, 4}, got, "Fortran order, big-endian %s", kind)
	}
	got, _, err := npy.Read(bytes.NewReader(file("|b1", "False", "(3,)", []bool{true, false, true}, little)))
	require.NoError(t, err)
	require.Equal(t, []float64{1, 0, 1}, got)
	got, _, err = npy.Read(bytes.NewReader(file("<f4", "True", "(1, 2, 3)", []float32{1, 4, 2, 5, 3, 6}, little)))
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2, 3, 4, 5, 6}, got, "Fortran order of three dimensions")
	got, _, err = npy.Read(bytes.NewReader(file("<f2", "False", "(4,)", []uint16{0x0001, 0xc248, 0x7bff, 0xfc00}, little)))
	require.NoError(t, err)
	require.Equal(t, []float64{math.Ldexp(1, -24), -3.140625, 65504, math.Inf(-1)}, got)
}

func TestReadRefuses(t *testing.T) {
	little := binary.LittleEndian
	for want, data := range map[string][]byte{
		`not a NumPy array (it starts with "hell")`: []byte("hell"),
		`numbers of type "<c8"`:                     file("<c8", "False", "(1,)", []float32{1, 2}, little),
		"want one to three dimensions":              file("<f4", "False", "(1, 1, 1, 1)", []float32{1}, little),
		"at most 268435456 values":                  file("<f4", "False", "(8192, 8192, 8)", []float32{1}, little),
		"value 1 of 2: EOF":                         file("<f4", "False", "(2,)", []float32{1}, little),
	} {
		_, _, err := npy.Read(bytes.NewReader(data))
		require.ErrorContains(t, err, want)
	}
}

func TestWriteAndRead(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, npy.Write(&out, []float32{1, 2, 3, 4, 5, 6}, 2, 3))
	require.Zero(t, (out.Len()-24)%16, "data begin at a multiple of 16")
	got, shape, err := npy.Read(&out)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2, 3, 4, 5, 6}, got)
	require.Equal(t, []int{2, 3}, shape)
	require.ErrorContains(t, npy.Write(&out, []float64{1}, 2), "1 values for shape [2]")
}

// An array that expands without measure is refused before it is read.
func TestArchiveOfZeros(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zeros.npz")
	f, err := os.Create(path)
	require.NoError(t, err)
	out := zip.NewWriter(f)
	entry, err := out.Create("data.npy")
	require.NoError(t, err)
	require.NoError(t, npy.Write(entry, make([]float64, 1<<19), 1<<19))
	require.NoError(t, out.Close())
	require.NoError(t, f.Close())
	a, err := npy.OpenArchive(path)
	require.NoError(t, err)
	defer a.Close()
	_, _, err = a.Array("data")
	require.ErrorContains(t, err, "at most 200 times")
	_, _, err = a.Array("none")
	require.ErrorContains(t, err, "no array none")
}
