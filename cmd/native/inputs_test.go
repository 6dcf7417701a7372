package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// A choice of the information term that was measured to ruin a task is named on standard error; others are not.
func TestCaution(t *testing.T) {
	for choice, said := range map[string]bool{"fidelity": true, "paper": false} {
		code, _, stderr := tool(t.Context(), "restore", "--task", "box", "--method", "pathwise-mean", "--cmi", choice, "--steps", "2", "--out", t.TempDir(), face)
		require.Zero(t, code, stderr)
		assert.Equal(t, said, strings.Contains(stderr, "note: the information term's choice fidelity at pathwise-mean cost 2 dB"), stderr)
	}
}

// A measurement that was written is taken back exactly, and gives the same picture.
func TestExactMeasurement(t *testing.T) {
	for task, flags := range map[string][]string{"sr4": nil, "colourise": nil, "phase": nil} {
		from, to := t.TempDir(), t.TempDir()
		args := append([]string{"restore", "--task", task, "--steps", "2", "--sigma-y", "0.3", "--out"}, flags...)
		code, _, stderr := tool(t.Context(), append(slices.Clone(args), from, face)...)
		require.Zero(t, code, stderr)
		assert.Equal(t, task == "colourise", strings.Contains(stderr, "every second face"), "%s: %s", task, stderr)
		y := filepath.Join(from, "01.measurement.npy")
		code, _, stderr = tool(t.Context(), append(slices.Clone(args), to, y, "--measured")...)
		require.Zero(t, code, stderr)
		want, err := os.ReadFile(filepath.Join(from, "01.png"))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(to, "01.measurement.png"))
		require.NoError(t, err)
		assert.Equal(t, want, got, task)
	}
}

// Arrays say by --range which values are black and white; what is likely to be misread is refused.
func TestArrayRange(t *testing.T) {
	p, err := picture.Open(face)
	require.NoError(t, err)
	dir := t.TempDir()
	save := func(name string, of func(v float32) float32, shape ...int) string {
		values := make([]float32, len(p.Pix))
		for i, v := range p.Pix {
			if shape[2] == 3 { // interleaved
				i = i%(p.H*p.W)*3 + i/(p.H*p.W)
			}
			values[i] = of(v)
		}
		path := filepath.Join(dir, name)
		require.NoError(t, picture.SaveNPY(path, values, shape...))
		return path
	}
	signed := save("01.npy", func(v float32) float32 { return v }, 3, 64, 64)
	bytes := save("bytes.npy", func(v float32) float32 { return (v + 1) * 127.5 }, 64, 64, 3)
	unit := save("unit.npy", func(v float32) float32 { return (v + 1) / 2 }, 3, 64, 64)
	tooMany := filepath.Join(dir, "four.npy")
	require.NoError(t, picture.SaveNPY(tooMany, make([]float32, 4*64*64), 4, 64, 64))

	restored := func(args ...string) []float32 {
		out := t.TempDir()
		code, _, stderr := tool(t.Context(), append([]string{"restore", "--steps", "2", "--out", out}, args...)...)
		require.Zero(t, code, stderr)
		name := strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0]))
		p, err := picture.Open(filepath.Join(out, name+".png"))
		require.NoError(t, err)
		return p.Pix
	}
	want, level := restored(face), 2.01/255
	assert.Equal(t, want, restored(signed))
	assert.InDeltaSlice(t, want, restored(bytes, "--range", "0,255"), level, "but for rounding")
	assert.InDeltaSlice(t, want, restored(unit, "--range", "0,1"), level, "but for rounding")
	for want, args := range map[string][]string{
		"--range 0,255":                     {bytes},
		"--range 0,1":                       {unit},
		"four.npy has 4 channels":           {tooMany, "--range=-1,1"},
		"--range 0,1 that is no picture":    {bytes, "--range", "0,1"},
		"--range 0,255 that is no picture":  {unit, "--range", "0,255"},
		"--range [0.000000,1.000000] would": {signed, "--range", "0,1", "--task", "phase", "--measured"},
	} {
		code, _, stderr := tool(t.Context(), append([]string{"restore"}, args...)...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, want)
	}
}

// A picture's number keys what is drawn for it, wherever it stands in a list.
func TestFirstImage(t *testing.T) {
	dir, all, one := t.TempDir(), t.TempDir(), t.TempDir()
	other := filepath.Join(dir, "02.png")
	copyFile(t, "../../examples/faces/02.png", other)
	for _, args := range [][]string{{face, other, "--out", all}, {other, "--first-image", "2", "--out", one}} {
		code, _, stderr := tool(t.Context(), append([]string{"restore", "--task", "inpaint", "--steps", "2"}, args...)...)
		require.Zero(t, code, stderr)
	}
	for _, file := range []string{"02.png", "02.mask.png", "02.measurement.npy"} {
		want, err := os.ReadFile(filepath.Join(all, file))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(one, file))
		require.NoError(t, err)
		assert.Equal(t, want, got, file)
	}
}

// Results of 16 bits lose no more than their depth says.
func TestDeepResults(t *testing.T) {
	for format, ext := range map[string]string{"png16": ".png", "tiff": ".tif"} {
		out := t.TempDir()
		code, _, stderr := tool(t.Context(), "restore", face, "--task", "denoise", "--steps", "2", "--npy", "--format", format, "--out", out)
		require.Zero(t, code, stderr)
		exact, err := picture.OpenArray(filepath.Join(out, "01.npy"), -1, 1)
		require.NoError(t, err)
		deep, err := picture.Open(filepath.Join(out, "01"+ext))
		require.NoError(t, err)
		for i, v := range exact.Pix {
			require.InDelta(t, min(max(v, -1), 1), deep.Pix[i], 1.01/65535, format)
		}
	}
}

// A matrix of the user's measures a picture, and takes its measurement back.
func TestOperatorFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "A.npy")
	values := make([]float64, 5*64*64)
	for i := range values {
		values[i] = float64(i%7-3) / 100
	}
	require.NoError(t, picture.SaveNPY(path, values, 5, 64*64))
	code, _, stderr := tool(t.Context(), "restore", face, "--operator", path, "--steps", "2", "--out", dir)
	require.Zero(t, code, stderr)
	y := filepath.Join(dir, "01.measurement.npy")
	code, _, stderr = tool(t.Context(), "restore", y, "--measured", "--operator", path, "--steps", "2", "--out", filepath.Join(dir, "again"))
	require.Zero(t, code, stderr)
	want, err := os.ReadFile(filepath.Join(dir, "01.png"))
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "again", "01.measurement.png"))
	require.NoError(t, err)
	assert.Equal(t, want, got)

	narrow := filepath.Join(dir, "narrow.npy")
	require.NoError(t, picture.SaveNPY(narrow, values[:20], 5, 4))
	for want, args := range map[string][]string{
		"narrow.npy":                  {face, "--operator", narrow},
		"want 4096 (each channel)":    {face, "--operator", narrow},
		"no picture: give it as an":   {face, "--operator", path, "--measured"},
		"has no operator":             {face, "--operator", path, "--task", "sr4"},
		"needs --operator FILE":       {face, "--task", "matrix"},
		"a matrix is a .npz file":     {face, "--operator", face},
		"has shape [1 5 4], a measur": {narrow, "--operator", path, "--measured"},
	} {
		code, _, stderr := tool(t.Context(), append([]string{"restore"}, args...)...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, want)
	}
}
