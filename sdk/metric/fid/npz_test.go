package fid_test

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
)

func TestStatisticsFileRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{4, 40} {
		s := statistics(t, draw(rng, n, 12, 12, 1), 12)
		path := filepath.Join(t.TempDir(), "s.npz")
		require.NoError(t, s.Save(path))
		require.NoError(t, s.Save(path), "replaces")
		got, err := fid.OpenStatistics(path)
		require.NoError(t, err)
		require.Equal(t, s.Mean(), got.Mean())
		require.Equal(t, s.Covariance(), got.Covariance())
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		require.Len(t, entries, 1, "no temporary file is left")
	}
	require.Error(t, statistics(t, make([]float32, 4), 2).Save(filepath.Join(t.TempDir(), "none", "s.npz")))
}

// Files that NumPy wrote (testdata/make_npz.py): compressed, float32, a sigma in
// Fortran's order; the values are mu = [1, 2, 3], sigma = [[4, 1, 0], [1, 5, 2], [0, 2, 6]].
func TestFilesOfNumPy(t *testing.T) {
	for _, name := range []string{"plain", "compressed", "fortran32"} {
		s, err := fid.OpenStatistics("testdata/" + name + ".npz")
		require.NoError(t, err, name)
		require.Equal(t, []float64{1, 2, 3}, s.Mean())
		for i, want := range []float64{4, 1, 0, 1, 5, 2, 0, 2, 6} {
			require.Equal(t, want, s.Covariance().At(i/3, i%3), name)
		}
	}
}

// npy returns an array file with the given header.
func npy(header string, values ...float64) []byte {
	out := []byte("\x93NUMPY\x01\x00")
	out = binary.LittleEndian.AppendUint16(out, uint16(len(header)))
	out = append(out, header...)
	for _, v := range values {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
	}
	return out
}

func TestBadStatisticsFiles(t *testing.T) {
	head := func(kind, shape string) string {
		return fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", kind, shape)
	}
	mu, sigma := npy(head("<f8", "(2,)"), 0, 0), npy(head("<f8", "(2, 2)"), 1, 0, 0, 1)
	for want, files := range map[string]map[string][]byte{
		"no array sigma":                            {"mu": mu},
		"no array mu":                               {"sigma": sigma},
		"sigma has shape [2], want [2 2]":           {"mu": mu, "sigma": mu},
		"mu has shape [2 2], want one dimension":    {"mu": sigma, "sigma": sigma},
		"mu: not a NumPy array":                     {"mu": []byte("hello world"), "sigma": sigma},
		"mu: value 1 of 2: EOF":                     {"mu": mu[:len(mu)-8], "sigma": sigma},
		`mu: numbers of type "|O"`:                  {"mu": npy(head("|O", "(2,)"), 0, 0), "sigma": sigma},
		"mu: shape \"(90000000,)\"":                 {"mu": npy(head("<f8", "(90000000,)")), "sigma": sigma},
		"mu has shape [2 1 1], want one dimension":  {"mu": npy(head("<f8", "(2, 1, 1)"), 0, 0), "sigma": sigma},
		"mu: NumPy header without":                  {"mu": npy("{}"), "sigma": sigma},
		"value 1 of mean and covariance is +Inf":    {"mu": npy(head("<f8", "(2,)"), 0, math.Inf(1)), "sigma": sigma},
		"sigma: unexpected EOF":                     {"mu": mu, "sigma": sigma[:20]},
		"covariance is not symmetric: entry (0, 1)": {"mu": mu, "sigma": npy(head("<f8", "(2, 2)"), 1, 1, 0, 1)},
	} {
		path := filepath.Join(t.TempDir(), "bad.npz")
		f, err := os.Create(path)
		require.NoError(t, err)
		z := zip.NewWriter(f)
		for name, data := range files {
			w, err := z.Create(name + ".npy")
			require.NoError(t, err)
			_, err = w.Write(data)
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		require.NoError(t, f.Close())
		_, err = fid.OpenStatistics(path)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
	}
	_, err := fid.OpenStatistics("testdata/make.py")
	require.ErrorContains(t, err, "an npz file with mu and sigma is wanted")
	_, err = fid.OpenStatistics("testdata/none.npz")
	require.ErrorIs(t, err, os.ErrNotExist)
}
