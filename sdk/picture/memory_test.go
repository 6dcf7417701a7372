package picture_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// What a header says of memory is enough for the picture.
func TestHeader(t *testing.T) {
	for name, file := range files(t) {
		path := filepath.Join(t.TempDir(), "picture")
		require.NoError(t, os.WriteFile(path, file, 0o644))
		h, err := picture.OpenHeader(path)
		require.NoError(t, err)
		m, err := picture.Open(path)
		require.NoError(t, err)
		assert.Equal(t, []int{m.H, m.W}, []int{h.H, h.W}, name)
		assert.GreaterOrEqual(t, h.Memory, int64(4*len(m.Pix)), name)
	}
}

// An array of bytes takes some float32 for each value, and not float64.
func TestMemoryOfArrays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npy")
	const h, w = 1000, 1000
	data := append([]byte("\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 1000, 3), }  \n"), make([]byte, 3*h*w)...)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	require.NoError(t, fuzztest.Check(t, 10*3*h*w, func() error {
		m, err := picture.OpenArray(path, 0, 255)
		require.Len(t, m.Pix, 3*h*w)
		return err
	}))
}
