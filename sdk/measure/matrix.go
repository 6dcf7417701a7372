package measure

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// Matrix is a sparse matrix in compressed rows (CSR): row i has the values
// Value[Start[i]:Start[i+1]] in the columns Column[Start[i]:Start[i+1]]. What stands several
// times is summed.
type Matrix struct {
	Name       string // the file it came from, for messages; may be empty
	Rows, Cols int
	Start      []int // Rows + 1, from 0 to len(Value)
	Column     []int32
	Value      []float32
}

// MaxEntries bounds the values of a [Matrix], and MaxSide its rows and its columns, which take
// memory even where they are empty.
const MaxEntries, MaxSide = 1 << 26, 1 << 22

// NewSparse returns the rows × cols matrix with value[k] in row[k] and col[k].
func NewSparse(rows, cols int, row, col []int, value []float64) (*Matrix, error) {
	m := &Matrix{Rows: rows, Cols: cols}
	if rows < 1 || cols < 1 || rows > MaxSide || cols > MaxSide {
		return nil, fmt.Errorf("a matrix of %d×%d: 1 to %d rows and columns are wanted", rows, cols, MaxSide)
	}
	if len(value) < 1 || len(value) > MaxEntries || len(row) != len(value) || len(col) != len(value) {
		return nil, fmt.Errorf("a matrix of %d×%d with %d values in %d rows and %d columns: one to %d values are wanted, each with its row and column", rows, cols, len(value), len(row), len(col), MaxEntries)
	}
	m.Start = make([]int, rows+1)
	for k, i := range row {
		if i < 0 || i >= rows || col[k] < 0 || col[k] >= cols {
			return nil, fmt.Errorf("value %d stands in row %d and column %d of a matrix of %d×%d (counted from 0)", k, i, col[k], rows, cols)
		}
		if !(math.Abs(value[k]) <= math.MaxFloat32) {
			return nil, fmt.Errorf("the value in row %d and column %d is %v, finite numbers are wanted", i, col[k], value[k])
		}
		m.Start[i+1]++
	}
	for i := range rows {
		m.Start[i+1] += m.Start[i]
	}
	m.Column, m.Value = make([]int32, len(value)), make([]float32, len(value))
	next := append([]int(nil), m.Start...)
	for k, i := range row {
		m.Column[next[i]], m.Value[next[i]] = int32(col[k]), float32(value[k])
		next[i]++
	}
	return m, nil
}

// transposed returns the transpose.
func (m *Matrix) transposed() *Matrix {
	t := &Matrix{Rows: m.Cols, Cols: m.Rows, Start: make([]int, m.Cols+1), Column: make([]int32, len(m.Value)), Value: make([]float32, len(m.Value))}
	for _, j := range m.Column {
		t.Start[j+1]++
	}
	for j := range m.Cols {
		t.Start[j+1] += t.Start[j]
	}
	next := append([]int(nil), t.Start...)
	for i := range m.Rows {
		for k := m.Start[i]; k < m.Start[i+1]; k++ {
			at := &next[m.Column[k]]
			t.Column[*at], t.Value[*at] = int32(i), m.Value[k]
			*at++
		}
	}
	return t
}

// multiply computes dst = m·x, each row summed in float64 in the order of its values.
func multiply[F float32 | float64](m *Matrix, dst, x []F) {
	parts := 1
	if len(m.Value) > 1<<16 {
		parts = runtime.GOMAXPROCS(0)
	}
	var wait sync.WaitGroup
	for p := range parts {
		wait.Go(func() {
			for i := p * m.Rows / parts; i < (p+1)*m.Rows/parts; i++ {
				sum := 0.0
				for k := m.Start[i]; k < m.Start[i+1]; k++ {
					sum += float64(m.Value[k]) * float64(x[m.Column[k]])
				}
				dst[i] = F(sum)
			}
		})
	}
	wait.Wait()
}

// What Power and LogDet of a matrix take.
const (
	powerSteps = 64   // of Lanczos
	powerError = 1e-6 // the share of the last Krylov vector at which fewer will do
	logProbes  = 8
	mostDense  = 1024 // rows of a matrix that the device multiplies itself, with exact powers
)

// matrix is a sparse matrix applied to each channel, or to all of them in one.
type matrix struct {
	shape
	memory
	a, at    *Matrix
	keep     []bool         // rows with a value
	mask     compute.Tensor // 1 and 0 of keep, no buffer where all are 1
	measured int
	largest  float64
	// Eigenvalues and weights of the Gauss quadrature of tr f(A Aᵀ), made when first used.
	nodes, weights []float64
}

// NewMatrix returns a matrix of the caller's for c×h×w images: applied to each channel
// where it has h·w columns (y is c×1×rows), to the whole image, channels first, where it has
// c·h·w (y is 1×1×rows). Rows without a value are not measured.
//
// Up to 1024 dense rows run on the device, with exact powers of A Aᵀ. Larger and sparse
// matrices are applied on the host, and their powers are taken by Lanczos.
func NewMatrix(dev compute.Device, c, h, w int, a *Matrix) (Linear, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	blocks := 1
	switch a.Cols {
	case h * w:
		blocks = c
	case c * h * w:
	default:
		return nil, fmt.Errorf("%s has %d columns, the images of %d×%d×%d want %d (each channel) or %d (all)", cmp.Or(a.Name, "the matrix"), a.Cols, c, h, w, h*w, c*h*w)
	}
	s := shape{"matrix", [3]int{c, h, w}, [3]int{blocks, 1, a.Rows}}
	if a.Rows <= mostDense && 20*len(a.Value) > a.Rows*a.Cols {
		return newDenseMatrix(dev, s, a)
	}
	m := &matrix{shape: s, memory: newMemory(dev), a: a, at: a.transposed(), keep: make([]bool, a.Rows)}
	values := make([]float32, a.Rows)
	for i := range m.keep {
		for k := a.Start[i]; k < a.Start[i+1]; k++ {
			m.keep[i] = m.keep[i] || a.Value[k] != 0
		}
		if m.keep[i] {
			values[i] = 1
			m.measured += blocks
		}
	}
	if m.measured < blocks*a.Rows {
		m.mask = m.ws.FromHost(values, 1, 1, 1, a.Rows)
	}
	if m.measured == 0 {
		return ready[Linear](m, errors.New("the matrix A is zero: nothing would be measured"))
	}
	err := m.ws.Err()
	if err == nil {
		m.quadrature()
	}
	return ready[Linear](m, err)
}

func (m *matrix) Measured() int              { return m.measured }
func (m *matrix) LargestEigenvalue() float64 { return m.largest }

// host maps each block of src by a matrix, on the host. A failure to read is the device's
// first one, which it returns again.
func (m *matrix) host(dst, src compute.Tensor, a *Matrix) {
	x, y := make([]float32, src.N*src.Len()), make([]float32, dst.N*dst.Len())
	if m.dev.Read(x, src) != nil {
		return
	}
	for b := range len(x) / a.Cols {
		multiply(a, y[b*a.Rows:][:a.Rows], x[b*a.Cols:][:a.Cols])
	}
	m.dev.Write(dst, y)
}

func (m *matrix) Apply(dst, x compute.Tensor)   { m.host(dst, x, m.a) }
func (m *matrix) Adjoint(dst, y compute.Tensor) { m.host(dst, y, m.at) }

func (m *matrix) Scale(dst, z compute.Tensor, factor float64) {
	if m.mask.Buf != nil {
		m.dev.Mul(dst, z, m.mask)
		z = dst
	}
	m.dev.Combine(dst, compute.Times(factor, z))
}

// krylovSpace is an orthonormal basis of the Krylov space of A Aᵀ and z, and the tridiagonal
// matrix of A Aᵀ in it.
type krylovSpace struct {
	basis       [][]float64
	diag, above []float64
	norm        float64 // of z
}

// lanczos runs up to powerSteps steps from z, with full orthogonalisation, until done.
func (m *matrix) lanczos(z []float64, done func(k *krylovSpace) bool) *krylovSpace {
	k := &krylovSpace{norm: floats.Norm(z, 2)}
	if k.norm == 0 {
		return k
	}
	q := append([]float64(nil), z...)
	floats.Scale(1/k.norm, q)
	image := make([]float64, m.a.Cols)
	for range min(powerSteps, m.a.Rows) {
		k.basis = append(k.basis, q)
		next := make([]float64, m.a.Rows)
		multiply(m.at, image, q)
		multiply(m.a, next, image)
		k.diag = append(k.diag, floats.Dot(next, q))
		for range 2 { // one pass leaves what rounding adds
			for _, b := range k.basis {
				floats.AddScaled(next, -floats.Dot(next, b), b)
			}
		}
		beta := floats.Norm(next, 2)
		if beta <= 1e-10*k.diag[0] || done(k) {
			break
		}
		k.above = append(k.above, beta)
		floats.Scale(1/beta, next)
		q = next
	}
	return k
}

// eigen returns the eigenvalues of the tridiagonal matrix, none below 0, and its eigenvectors.
func (k *krylovSpace) eigen() ([]float64, *mat.Dense) {
	n := len(k.diag)
	t := mat.NewSymDense(n, nil)
	for i, v := range k.diag {
		t.SetSym(i, i, v)
		if i+1 < n {
			t.SetSym(i, i+1, k.above[i])
		}
	}
	var e mat.EigenSym
	var vectors mat.Dense
	e.Factorize(t, true) // of a symmetric matrix of finite numbers it succeeds
	e.VectorsTo(&vectors)
	values := e.Values(nil)
	for i, v := range values {
		values[i] = max(v, 0)
	}
	return values, &vectors
}

// coefficients returns those of f(A Aᵀ) z in the basis.
func (k *krylovSpace) coefficients(f func(e float64) float64) []float64 {
	values, vectors := k.eigen()
	out := make([]float64, len(values))
	for j, e := range values {
		weight := k.norm * f(e) * vectors.At(0, j)
		for i := range out {
			out[i] += weight * vectors.At(i, j)
		}
	}
	return out
}

// Power implements [Spectral].
func (m *matrix) Power(dst, z compute.Tensor, r2, s2, p float64) {
	s2 = floor(r2, s2, m.largest)
	m.Function(dst, z, func(e float64) float64 { return math.Pow(r2*e+s2, p) })
}

// Function implements [Spectral], by Lanczos: where f jumps between eigenvalues, as DDNM's
// does, the jump is smoothed over the gaps of at most 64 Ritz values.
func (m *matrix) Function(dst, z compute.Tensor, f func(e float64) float64) {
	values := make([]float32, z.N*z.Len())
	if m.dev.Read(values, z) != nil {
		return
	}
	for b := range len(values) / m.a.Rows {
		block := values[b*m.a.Rows:][:m.a.Rows]
		start := make([]float64, m.a.Rows)
		for i, v := range block {
			if m.keep[i] {
				start[i] = float64(v)
			}
		}
		k := m.lanczos(start, func(k *krylovSpace) bool {
			if len(k.diag)%8 != 0 {
				return false
			}
			c := k.coefficients(f)
			return math.Abs(c[len(c)-1]) < powerError*floats.Norm(c, 2)
		})
		clear(start)
		if len(k.basis) > 0 {
			for i, c := range k.coefficients(f) {
				floats.AddScaled(start, c, k.basis[i])
			}
		}
		for i, v := range start {
			block[i] = float32(v)
		}
	}
	m.dev.Write(dst, values)
}

// quadrature finds λ_max, and the nodes and weights of tr f(A Aᵀ) = Σ weight f(node), from
// Rademacher probes (stochastic Lanczos quadrature, Ubaru, Chen & Saad 2017).
func (m *matrix) quadrature() {
	rng := diffusion.Stream{}.Rand()
	for range logProbes {
		z := make([]float64, m.a.Rows)
		for i, kept := range m.keep {
			if kept {
				z[i] = float64(2*rng.IntN(2) - 1)
			}
		}
		k := m.lanczos(z, func(*krylovSpace) bool { return false })
		values, vectors := k.eigen()
		for j, e := range values {
			m.nodes = append(m.nodes, e)
			m.weights = append(m.weights, float64(m.measured)/logProbes*vectors.At(0, j)*vectors.At(0, j))
			m.largest = max(m.largest, e)
		}
	}
}

// LogDet implements [Spectral], as an estimate: see quadrature.
func (m *matrix) LogDet(r2, s2 float64) (sum float64) {
	s2 = floor(r2, s2, m.largest)
	for i, e := range m.nodes {
		sum += m.weights[i] * math.Log(r2*e+s2)
	}
	return sum
}

// denseMatrix is a small matrix, on the device: a [separable] of images that are rows.
type denseMatrix struct {
	shape
	*separable
}

func newDenseMatrix(dev compute.Device, s shape, a *Matrix) (Linear, error) {
	rows := mat.NewDense(a.Rows, a.Cols, nil)
	for i := range a.Rows {
		for k := a.Start[i]; k < a.Start[i+1]; k++ {
			j := int(a.Column[k])
			rows.Set(i, j, rows.At(i, j)+float64(a.Value[k]))
		}
	}
	one, err := newSeparable(s.name, dev, s.out[0], mat.NewDense(1, 1, []float64{1}), rows)
	return ready[Linear](&denseMatrix{s, one}, err)
}

func (m *denseMatrix) Name() string       { return m.shape.Name() }
func (m *denseMatrix) In() (c, h, w int)  { return m.shape.In() }
func (m *denseMatrix) Out() (c, h, w int) { return m.shape.Out() }

// row views each image, or each channel of it, as one row.
func (m *denseMatrix) row(x compute.Tensor) compute.Tensor { return x.Reshape(m.separable.In()) }

func (m *denseMatrix) Apply(dst, x compute.Tensor)   { m.separable.Apply(dst, m.row(x)) }
func (m *denseMatrix) Adjoint(dst, y compute.Tensor) { m.separable.Adjoint(m.row(dst), y) }
