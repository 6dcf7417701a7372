package fid

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// OpenStatistics reads a statistics file, NumPy's npz with arrays mu [dim] and sigma
// [dim, dim] in float64 or float32, as the FID's programs write them.
func OpenStatistics(path string) (*Statistics, error) {
	file, err := npy.OpenArchive(path)
	if err != nil {
		return nil, fmt.Errorf("FID statistics %s: %w; an npz file with mu and sigma is wanted", path, err)
	}
	defer file.Close()
	mu, shape, err := file.Array("mu")
	if err == nil && len(shape) != 1 {
		err = fmt.Errorf("mu has shape %v, want one dimension", shape)
	}
	var sigma []float64
	if err == nil {
		sigma, shape, err = file.Array("sigma")
	}
	if err == nil && (len(shape) != 2 || shape[0] != len(mu) || shape[1] != len(mu)) {
		err = fmt.Errorf("sigma has shape %v, want [%d %d] to fit mu", shape, len(mu), len(mu))
	}
	var s *Statistics
	if err == nil {
		s, err = FromMoments(mu, sigma)
	}
	if err != nil {
		return nil, fmt.Errorf("FID statistics %s: %w", path, err)
	}
	return s, nil
}

// Save writes the statistics as npz, float64, for any of the FID's programs. An
// existing file is replaced when all is written.
func (s *Statistics) Save(path string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".statistics-*")
	if err != nil {
		return fmt.Errorf("FID statistics: %w", err)
	}
	defer os.Remove(file.Name()) // does nothing once renamed
	err = s.write(file)
	if e := file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(file.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("FID statistics %s: %w", path, err)
	}
	return nil
}

func (s *Statistics) write(w io.Writer) error {
	out := zip.NewWriter(w)
	dim := s.Dim()
	covariance := make([]float64, 0, dim*dim)
	for i := range dim * dim {
		covariance = append(covariance, s.covariance.At(i/dim, i%dim))
	}
	for _, a := range []struct {
		name   string
		values []float64
		shape  []int
	}{{"mu", s.mean, []int{dim}}, {"sigma", covariance, []int{dim, dim}}} {
		entry, err := out.CreateHeader(&zip.FileHeader{Name: a.name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		if err := npy.Write(entry, a.values, a.shape...); err != nil {
			return err
		}
	}
	return out.Close()
}
