//go:build !js

package measure_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// randomMatrix returns a matrix with about that share of its values filled, and the same as
// gonum has it. Row 1 is empty.
func randomMatrix(t *testing.T, rows, cols int, share float64) (*measure.Matrix, *mat.Dense) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(cols)))
	dense := mat.NewDense(rows, cols, nil)
	var row, col []int
	var value []float64
	for i := range rows {
		for j := range cols {
			if i != 1 && rng.Float64() < share {
				v := rng.NormFloat64()
				row, col, value = append(row, i), append(col, j), append(value, v)
				dense.Set(i, j, v)
			}
		}
	}
	m, err := measure.NewSparse(rows, cols, row, col, value)
	require.NoError(t, err)
	return m, dense
}

// A matrix of the caller's is that matrix, its adjoint, powers and determinant, sparse on the
// host and dense on the device, on each channel and on all.
func TestMatrix(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	const c, h, w, rows = 3, 4, 5, 14
	for _, share := range []float64{0.04, 0.6} {
		for _, cols := range []int{h * w, c * h * w} {
			m, dense := randomMatrix(t, rows, cols, share)
			name := fmt.Sprintf("%d columns, share %v", cols, share)
			op, err := measure.NewMatrix(dev, c, h, w, m)
			require.NoError(t, err, name)
			defer op.Close()
			require.True(t, measure.Exact(op))
			oc, oh, ow := op.Out()
			require.Equal(t, [3]int{c * h * w / cols, 1, rows}, [3]int{oc, oh, ow})
			blocks := c * h * w / cols

			ws := compute.NewWorkspace(dev)
			defer ws.Free()
			x, z := make([]float32, 2*c*h*w), make([]float32, 2*blocks*rows)
			rng := rand.New(rand.NewPCG(2, 3))
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			for i := range z {
				z[i] = float32(rng.NormFloat64())
			}
			xt, zt := ws.FromHost(x, 2, c, h, w), ws.FromHost(z, 2, oc, oh, ow)
			y, back, power := ws.Like(zt), ws.Like(xt), ws.Like(zt)
			require.NoError(t, ws.Err())
			op.Apply(y, xt)
			op.Adjoint(back, zt)
			got, err := compute.ToHost(dev, y)
			require.NoError(t, err)
			adjoint, err := compute.ToHost(dev, back)
			require.NoError(t, err)

			var gram mat.SymDense
			gram.SymOuterK(1, dense)
			var e mat.EigenSym
			require.True(t, e.Factorize(&gram, true))
			var vectors mat.Dense
			e.VectorsTo(&vectors)
			values := e.Values(nil)
			assert.InEpsilon(t, values[rows-1], op.LargestEigenvalue(), 1e-5, name)
			const r2, s2 = 0.7, 0.3
			logDet := 0.0
			for _, v := range values {
				logDet += float64(blocks) * math.Log(r2*max(v, 0)+s2)
			}
			var empty []int // rows that are not measured, row 1 among them
			for i := range rows {
				if mat.Norm(dense.RowView(i), 2) == 0 {
					empty = append(empty, i)
				}
			}
			require.Contains(t, empty, 1)
			require.Equal(t, blocks*(rows-len(empty)), op.Measured())
			logDet -= float64(blocks*len(empty)) * math.Log(s2)
			assert.InDelta(t, logDet, measure.LogDet(op, r2, s2), 0.25*math.Abs(logDet)+1e-3, name)

			for _, p := range []float64{-1, -0.5, 0.5} {
				measure.Power(op, power, zt, r2, s2, p)
				powers, err := compute.ToHost(dev, power)
				require.NoError(t, err)
				for b := range 2 * blocks {
					var v mat.VecDense
					v.MulVec(dense, mat.NewVecDense(cols, wide(x[b*cols:][:cols])))
					assertClose(t, v.RawVector().Data, got[b*rows:][:rows], 1e-5, name)
					v.Reset()
					v.MulVec(dense.T(), mat.NewVecDense(rows, wide(z[b*rows:][:rows])))
					assertClose(t, v.RawVector().Data, adjoint[b*cols:][:cols], 1e-5, name)

					measured := wide(z[b*rows:][:rows])
					for _, i := range empty {
						measured[i] = 0
					}
					var along, back mat.VecDense
					along.MulVec(vectors.T(), mat.NewVecDense(rows, measured))
					for i, v := range values {
						along.SetVec(i, along.AtVec(i)*math.Pow(r2*max(v, 0)+s2, p))
					}
					back.MulVec(&vectors, &along)
					assertClose(t, back.RawVector().Data, powers[b*rows:][:rows], 1e-4, fmt.Sprintf("%s, power %v", name, p))
				}
			}
		}
	}
}

func assertClose(t *testing.T, want []float64, got []float32, bound float64, name string) {
	t.Helper()
	var square, size float64
	for i, v := range want {
		square += (v - float64(got[i])) * (v - float64(got[i]))
		size += v * v
	}
	assert.LessOrEqual(t, math.Sqrt(square), bound*math.Sqrt(size)+1e-9, name)
}

// npz writes an archive of arrays.
func npz(t *testing.T, format string, arrays map[string][]float64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "A.npz")
	f, err := os.Create(path)
	require.NoError(t, err)
	out := zip.NewWriter(f)
	entry, err := out.Create("format.npy")
	require.NoError(t, err)
	header := fmt.Sprintf("{'descr': '|S%d', 'fortran_order': False, 'shape': (), }\n", len(format))
	require.NoError(t, binary.Write(entry, binary.LittleEndian, []byte("\x93NUMPY\x01\x00")))
	require.NoError(t, binary.Write(entry, binary.LittleEndian, uint16(len(header))))
	_, err = entry.Write([]byte(header + format))
	require.NoError(t, err)
	for name, values := range arrays {
		entry, err := out.Create(name + ".npy")
		require.NoError(t, err)
		require.NoError(t, npy.Write(entry, values, len(values)))
	}
	require.NoError(t, out.Close())
	require.NoError(t, f.Close())
	return path
}

// SciPy's formats give one matrix; damaged ones name what is wrong.
func TestOpenMatrix(t *testing.T) {
	// [[1 0 2] [0 0 3]]
	shape := []float64{2, 3}
	want := &measure.Matrix{Rows: 2, Cols: 3, Start: []int{0, 2, 3}, Column: []int32{0, 2, 2}, Value: []float32{1, 2, 3}}
	dense := filepath.Join(t.TempDir(), "A.npy")
	var b bytes.Buffer
	require.NoError(t, npy.Write(&b, []float64{1, 0, 2, 0, 0, 3}, 2, 3))
	require.NoError(t, os.WriteFile(dense, b.Bytes(), 0o644))
	for _, path := range []string{
		npz(t, "csr", map[string][]float64{"shape": shape, "data": {1, 2, 3}, "indices": {0, 2, 2}, "indptr": {0, 2, 3}}),
		npz(t, "csc", map[string][]float64{"shape": shape, "data": {1, 2, 3}, "indices": {0, 0, 1}, "indptr": {0, 1, 1, 3}}),
		npz(t, "coo", map[string][]float64{"shape": shape, "data": {1, 2, 3}, "row": {0, 0, 1}, "col": {0, 2, 2}}),
		dense,
	} {
		m, err := measure.OpenMatrix(path)
		require.NoError(t, err)
		assert.Equal(t, path, m.Name)
		m.Name = ""
		assert.Equal(t, want, m)
	}
	for says, path := range map[string]string{
		`in format "dia"`:               npz(t, "dia", map[string][]float64{"shape": shape, "data": {1}, "indices": {0}, "indptr": {0}}),
		"no array data":                 npz(t, "csr", map[string][]float64{"shape": shape}),
		"indices has the value 3":       npz(t, "csr", map[string][]float64{"shape": shape, "data": {1, 2, 3}, "indices": {0, 3, 2}, "indptr": {0, 2, 3}}),
		"indptr has 2 values, 3 from 0": npz(t, "csr", map[string][]float64{"shape": shape, "data": {1, 2, 3}, "indices": {0, 2, 2}, "indptr": {0, 3}}),
		"indptr falls from 3 to 2":      npz(t, "csr", map[string][]float64{"shape": {3, 3}, "data": {1, 2, 3}, "indices": {0, 2, 2}, "indptr": {0, 3, 2, 3}}),
		"row has the value -1":          npz(t, "coo", map[string][]float64{"shape": shape, "data": {1}, "row": {-1}, "col": {0}}),
		"row 0 and column 0 is NaN":     npz(t, "coo", map[string][]float64{"shape": shape, "data": {math.NaN()}, "row": {0}, "col": {0}}),
		"with 2 values in 1 rows":       npz(t, "coo", map[string][]float64{"shape": shape, "data": {1, 2}, "row": {0}, "col": {0}}),
		"shape has the value 1e+12":     npz(t, "coo", map[string][]float64{"shape": {1e12, 3}, "data": {1}, "row": {0}, "col": {0}}),
	} {
		_, err := measure.OpenMatrix(path)
		require.ErrorContains(t, err, says)
	}
	dev := cpu.New(1)
	defer dev.Close()
	_, err := measure.NewMatrix(dev, 3, 4, 4, want)
	require.ErrorContains(t, err, "has 3 columns, the images of 3×4×4 want 16 (each channel) or 48 (all)")
}
