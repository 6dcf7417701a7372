//go:build !js

package measure_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// numpy returns an array file of numbers.
func numpy(t testing.TB, values ...float64) []byte {
	var out bytes.Buffer
	require.NoError(t, npy.Write(&out, values, len(values)))
	return out.Bytes()
}

// FuzzMatrix reads a sparse matrix whose arrays are the bytes.
func FuzzMatrix(f *testing.F) {
	f.Add("csr", numpy(f, 2, 3), numpy(f, 1, 2), numpy(f, 0, 2), numpy(f, 0, 1, 2))
	f.Add("coo", numpy(f, 1<<30, 1<<30), numpy(f, 1, 2), numpy(f, 0, 1<<29), numpy(f, 0, 1))
	f.Add("csc", numpy(f, 1, 1), numpy(f, 1), numpy(f, 0), numpy(f, 0, 1))
	path := filepath.Join(f.TempDir(), "matrix.npz")
	f.Fuzz(func(t *testing.T, format string, shape, data, inner, outer []byte) {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		second, third := "indices", "indptr"
		if format == "coo" {
			second, third = "row", "col"
		}
		if len(format) > 3 {
			format = format[:3]
		}
		kind := fmt.Sprintf("{'descr': '|S%d', 'fortran_order': False, 'shape': (), }\n", len(format))
		text := append([]byte("\x93NUMPY\x01\x00"), byte(len(kind)), 0)
		for name, content := range map[string][]byte{
			"format": append(append(text, kind...), format...), "shape": shape, "data": data, second: inner, third: outer,
		} {
			entry, err := w.CreateHeader(&zip.FileHeader{Name: name + ".npy"})
			require.NoError(t, err)
			_, err = entry.Write(content)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
		var m *measure.Matrix
		if fuzztest.Check(t, 80<<20+128*out.Len(), func() (err error) {
			m, err = measure.OpenMatrix(path)
			return err
		}) == nil && m == nil {
			t.Fatal("no matrix and no error")
		}
	})
}
