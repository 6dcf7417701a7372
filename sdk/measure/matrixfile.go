//go:build !js

package measure

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// OpenMatrix reads a matrix from a file: a sparse one as scipy.sparse.save_npz writes it
// (.npz, formats csr, csc and coo), or a dense one of two dimensions (.npy).
func OpenMatrix(path string) (m *Matrix, err error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".npy":
		m, err = openDense(path)
	case ".npz":
		m, err = openSparse(path)
	default:
		return nil, fmt.Errorf("%s: a matrix is a .npz file of scipy.sparse.save_npz or a .npy file of two dimensions", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.Name = path
	return m, nil
}

func openDense(path string) (*Matrix, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	values, shape, err := npy.Read(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return nil, err
	}
	if len(shape) != 2 {
		return nil, fmt.Errorf("shape %v, a matrix has 2 dimensions: one row for each measured value", shape)
	}
	var row, col []int
	filled := values[:0]
	for i, v := range values {
		if v != 0 {
			row, col, filled = append(row, i/shape[1]), append(col, i%shape[1]), append(filled, v)
		}
	}
	return NewSparse(shape[0], shape[1], row, col, filled)
}

func openSparse(path string) (*Matrix, error) {
	file, err := npy.OpenArchive(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	format, err := file.Text("format")
	if err != nil {
		return nil, fmt.Errorf("not a matrix of scipy.sparse.save_npz: %w", err)
	}
	values := map[string][]float64{}
	names := []string{"shape", "data", "indices", "indptr"}
	if format == "coo" {
		names = []string{"shape", "data", "row", "col"}
	}
	for _, name := range names {
		if values[name], _, err = file.Array(name); err != nil {
			return nil, err
		}
	}
	size, err := indices("shape", values["shape"], math.MaxInt32)
	if err != nil {
		return nil, err
	}
	if len(size) != 2 {
		return nil, fmt.Errorf("shape %v, a matrix has 2 dimensions", size)
	}
	var row, col []int
	switch format {
	case "coo":
		if row, err = indices("row", values["row"], size[0]-1); err == nil {
			col, err = indices("col", values["col"], size[1]-1)
		}
	case "csr":
		row, col, err = compressed(values, size[0], size[1])
	case "csc":
		col, row, err = compressed(values, size[1], size[0])
	default:
		err = fmt.Errorf("a sparse matrix in format %q, csr, csc or coo is wanted: save A.tocsr()", format)
	}
	if err != nil {
		return nil, err
	}
	return NewSparse(size[0], size[1], row, col, values["data"])
}

// compressed returns the outer and the inner index of each value of a compressed matrix.
func compressed(values map[string][]float64, outer, inner int) (out, in []int, err error) {
	if in, err = indices("indices", values["indices"], inner-1); err != nil {
		return nil, nil, err
	}
	starts, err := indices("indptr", values["indptr"], len(in))
	if err != nil {
		return nil, nil, err
	}
	if len(starts) != outer+1 || starts[0] != 0 || starts[outer] != len(in) {
		return nil, nil, fmt.Errorf("indptr has %d values, %d from 0 to %d are wanted", len(starts), outer+1, len(in))
	}
	for i := range outer {
		if starts[i+1] < starts[i] {
			return nil, nil, fmt.Errorf("indptr falls from %d to %d", starts[i], starts[i+1])
		}
		for range starts[i+1] - starts[i] {
			out = append(out, i)
		}
	}
	return out, in, nil
}

// indices returns whole numbers from 0 to most.
func indices(name string, values []float64, most int) ([]int, error) {
	out := make([]int, len(values))
	for i, v := range values {
		if !(v >= 0 && v <= float64(most)) || v != math.Trunc(v) {
			return nil, fmt.Errorf("%s has the value %v, whole numbers from 0 to %d are wanted", name, v, most)
		}
		out[i] = int(v)
	}
	return out, nil
}

// matrixOperator is [NewMatrix] where matrices can be read.
func matrixOperator(dev compute.Device, c, h, w int, a *Matrix) (Linear, error) {
	return NewMatrix(dev, c, h, w, a)
}
