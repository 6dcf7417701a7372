package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// npyFile returns an array file with that header and data.
func npyFile(t *testing.T, header string, data any) string {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("\x93NUMPY\x01\x00")
	require.NoError(t, binary.Write(&out, binary.LittleEndian, uint16(len(header))))
	out.WriteString(header)
	require.NoError(t, binary.Write(&out, binary.LittleEndian, data))
	return writeFile(t, "kernel.npy", out.Bytes())
}

func TestReadKernel(t *testing.T) {
	for header, data := range map[string]any{
		"{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3), }": []int64{1, 2, 1},
		"{'descr': '<f2', 'fortran_order': False, 'shape': (1, 3), }": []uint16{0x3c00, 0x4000, 0x3c00},
		"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3), }":  []float32{1, 2, 1},
		"{'descr': '<f8', 'fortran_order': True, 'shape': (1, 3), }":  []float64{8e307, 1.6e308, 8e307},
	} {
		k, err := readKernel(npyFile(t, header, data))
		require.NoError(t, err, header)
		assert.Equal(t, []float64{.25, .5, .25}, k.Weights, header)
		assert.Equal(t, [2]int{1, 3}, [2]int{k.H, k.W})
	}
	for want, bad := range map[string][]float64{
		"weight 1 is NaN":                {1, math.NaN(), 1},
		"the blur kernel is zero":        {0, 0, 0},
		"sum to -3 and cannot be scaled": {-1, -1, -1},
	} {
		var out bytes.Buffer
		require.NoError(t, npy.Write(&out, bad, 1, len(bad)))
		_, err := readKernel(writeFile(t, "kernel.npy", out.Bytes()))
		require.ErrorContains(t, err, want)
	}
	_, err := readKernel(npyFile(t, "{'descr': '<c8', 'fortran_order': False, 'shape': (1, 1), }", []float32{1, 0}))
	require.ErrorContains(t, err, `numbers of type "<c8"`)
	_, err = readKernel(npyFile(t, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", []float32{1}))
	require.ErrorContains(t, err, "has shape [1]")
}

// A kernel drawn as a picture: colours count by their luma, transparency is black.
func TestReadKernelPicture(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 3, 1))
	m.Set(0, 0, color.NRGBA{R: 255, A: 255})
	m.Set(1, 0, color.NRGBA{R: 255, G: 255, B: 255, A: 255})
	m.Set(2, 0, color.NRGBA{R: 255, G: 255, B: 255})
	path := filepath.Join(t.TempDir(), "kernel.png")
	require.NoError(t, picture.SavePNG(path, m))
	k, err := readKernel(path)
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float64{0.299 / 1.299, 1 / 1.299, 0}, k.Weights, 1e-3)
}
