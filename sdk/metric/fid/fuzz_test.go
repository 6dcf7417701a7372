package fid

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// npz returns an archive of mu and sigma.
func npz(t testing.TB, method uint16, mu, sigma []byte) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, data := range map[string][]byte{"mu.npy": mu, "sigma.npy": sigma} {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		require.NoError(t, err)
		_, err = entry.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func array2(t testing.TB, values []float64, shape ...int) []byte {
	var out bytes.Buffer
	require.NoError(t, npy.Write(&out, values, shape...))
	return out.Bytes()
}

// read opens statistics through a file, and fails the test unless they are what they should.
func read(t *testing.T, path string, data []byte) {
	require.NoError(t, os.WriteFile(path, data, 0o644))
	var s *Statistics
	if fuzztest.Check(t, 64<<20+64*len(data), func() (err error) { // a compressed MiB, and lists that grow
		s, err = OpenStatistics(path)
		return err
	}) != nil {
		return
	}
	fuzztest.Finite(t, s.mean...)
	if d, err := Distance(s, s); err == nil {
		fuzztest.Finite(t, d)
	}
}

// A small archive of a large array is refused before it is unpacked.
func TestStatisticsBomb(t *testing.T) {
	bomb := array2(t, make([]float64, 1<<22), 1<<11, 1<<11)
	path := filepath.Join(t.TempDir(), "statistics.npz")
	data := npz(t, zip.Deflate, array2(t, []float64{1, 2}, 2), bomb)
	require.Less(t, len(data), 1<<16)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	err := fuzztest.Check(t, 1<<20, func() error { _, err := OpenStatistics(path); return err })
	require.ErrorContains(t, err, "sigma expands from")
}

// FuzzStatistics puts the bytes where mu and sigma go in an archive.
func FuzzStatistics(f *testing.F) {
	f.Add(array2(f, []float64{1, 2}, 2), array2(f, []float64{2, 1, 1, 2}, 2, 2))
	f.Add(array2(f, []float64{1}, 1), array2(f, []float64{-1}, 1, 1))
	f.Add([]byte("\x93NUMPY\x01\x00\x00\x00"), []byte{})
	path := filepath.Join(f.TempDir(), "statistics.npz")
	f.Fuzz(func(t *testing.T, mu, sigma []byte) { read(t, path, npz(t, zip.Store, mu, sigma)) })
}

// FuzzStatisticsFile reads anything as an archive.
func FuzzStatisticsFile(f *testing.F) {
	mu, sigma := array2(f, []float64{1, 2}, 2), array2(f, []float64{2, 1, 1, 2}, 2, 2)
	f.Add(npz(f, zip.Store, mu, sigma))
	f.Add(npz(f, zip.Deflate, mu, sigma))
	path := filepath.Join(f.TempDir(), "statistics.npz")
	f.Fuzz(func(t *testing.T, data []byte) { read(t, path, data) })
}
