package measure

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// separable is A = L ⊗ R on each channel, y = L x Rᵀ. With the eigendecompositions
// L Lᵀ = U Λ Uᵀ and R Rᵀ = V M Vᵀ, A Aᵀ has the eigenvalues λ_i μ_j and
// f(A Aᵀ) z = U (f(λ_i μ_j) ⊙ (Uᵀ z V)) Vᵀ: the spectral form where the border is
// not periodic, so that no Fourier transform diagonalises A Aᵀ.
type separable struct {
	shape
	memory
	l, lt, r, rt compute.Tensor
	u, ut, v, vt compute.Tensor
	eigen        compute.Tensor // [1,1,h',w']: λ_i μ_j
	keep         compute.Tensor // [1,1,h',w']: 1 where A has a row that is not zero; no buffer where it has everywhere
	grid         []float64      // the same on the host
	values       []float64      // λ_i μ_j of the measured coordinates of one channel
	measured     int
	largest      float64
}

// newSeparable is L ⊗ R for images of c channels.
func newSeparable(name string, dev compute.Device, c int, l, r *mat.Dense) (*separable, error) {
	outH, h := l.Dims()
	outW, w := r.Dims()
	s := &separable{shape: shape{name, [3]int{c, h, w}, [3]int{c, outH, outW}}, memory: newMemory(dev)}
	left, err := gramEigen(l)
	if err != nil {
		return s, err
	}
	right, err := gramEigen(r)
	if err != nil {
		return s, err
	}
	s.l, s.lt = s.matrix(l), s.matrix(l.T())
	s.r, s.rt = s.matrix(r), s.matrix(r.T())
	s.u, s.ut = s.matrix(left.vectors), s.matrix(left.vectors.T())
	s.v, s.vt = s.matrix(right.vectors), s.matrix(right.vectors.T())

	keep := make([]float32, outH*outW)
	s.grid = make([]float64, outH*outW)
	for i, a := range left.values {
		for j, b := range right.values {
			s.values = append(s.values, a*b)
			s.grid[i*outW+j] = a * b
			s.largest = max(s.largest, a*b)
		}
	}
	for i, a := range left.measured {
		for j, b := range right.measured {
			if a && b {
				keep[i*outW+j] = 1
			}
		}
	}
	s.measured = c * len(s.values)
	s.eigen = s.matrix(mat.NewDense(outH, outW, s.grid))
	if len(s.values) < len(keep) {
		s.keep = s.ws.FromHost(keep, 1, 1, outH, outW)
	}
	if !(s.largest > 0) {
		return s, errors.New("the operator A is zero: nothing would be measured")
	}
	return s, s.ws.Err()
}

// matrix copies m to the device.
func (m *memory) matrix(a mat.Matrix) compute.Tensor {
	rows, cols := a.Dims()
	values := make([]float32, 0, rows*cols)
	for i := range rows {
		for j := range cols {
			values = append(values, float32(a.At(i, j)))
		}
	}
	return m.ws.FromHost(values, 1, 1, rows, cols)
}

// gram is the eigendecomposition of D Dᵀ restricted to the rows of D that are not
// zero. vectors has a row for each row of D, zero where D's is; the columns beyond
// values are zero.
type gram struct {
	vectors  *mat.Dense
	values   []float64
	measured []bool
}

func gramEigen(d *mat.Dense) (gram, error) {
	rows, _ := d.Dims()
	g := gram{vectors: mat.NewDense(rows, rows, nil), measured: make([]bool, rows)}
	var at []int
	for i := range rows {
		for _, v := range d.RawRowView(i) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return g, fmt.Errorf("row %d of the matrix has the value %v, finite numbers are wanted", i, v)
			}
			g.measured[i] = g.measured[i] || v != 0
		}
		if g.measured[i] {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return g, nil
	}
	product := mat.NewSymDense(len(at), nil)
	for i, a := range at {
		for j, b := range at[:i+1] {
			product.SetSym(i, j, mat.Dot(d.RowView(a), d.RowView(b)))
		}
	}
	var e mat.EigenSym
	if !e.Factorize(product, true) {
		return g, errors.New("the eigenvalues of A Aᵀ do not converge")
	}
	var vectors mat.Dense
	e.VectorsTo(&vectors)
	g.values = e.Values(nil)
	for j, v := range g.values {
		g.values[j] = max(v, 0) // rounding leaves −1e-17
		for i, a := range at {
			g.vectors.Set(a, j, vectors.At(i, j))
		}
	}
	return g, nil
}

func (s *separable) Measured() int { return s.measured }

func (s *separable) Apply(dst, x compute.Tensor) { s.dev.Separable(dst, x, s.l, s.r, false) }

func (s *separable) Adjoint(dst, y compute.Tensor) { s.dev.Separable(dst, y, s.lt, s.rt, false) }

func (s *separable) Scale(dst, z compute.Tensor, factor float64) {
	if s.keep.Buf != nil {
		s.dev.Mul(dst, z, s.keep)
		z = dst
	}
	s.dev.Combine(dst, compute.Times(factor, z))
}

func (s *separable) LargestEigenvalue() float64 { return s.largest }

func (s *separable) Power(dst, z compute.Tensor, r2, s2, p float64) {
	weight := s.ws.Scratch("weight", 1, 1, z.H, z.W)
	s.dev.Map(weight, compute.Pow(float32(r2), float32(floor(r2, s2, s.largest)), float32(p)), s.eigen)
	s.weigh(dst, z, weight)
}

// Function implements [Spectral].
func (s *separable) Function(dst, z compute.Tensor, f func(float64) float64) {
	weight := s.ws.Scratch("weight", 1, 1, z.H, z.W)
	s.dev.Write(weight, mapped(s.grid, f))
	s.weigh(dst, z, weight)
}

// weigh multiplies the coordinates of z among the eigenvectors of A Aᵀ by a weight for each.
func (s *separable) weigh(dst, z, weight compute.Tensor) {
	t := s.ws.ScratchLike("coordinates", z)
	s.dev.Separable(t, z, s.ut, s.vt, false)
	s.dev.Mul(t, t, weight)
	s.dev.Separable(dst, t, s.u, s.v, false)
}

func (s *separable) LogDet(r2, s2 float64) float64 {
	return logDet(s.in[0], s.values, r2, floor(r2, s2, s.largest))
}

// mapped returns f of each value in float32.
func mapped(values []float64, f func(float64) float64) []float32 {
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = float32(f(v))
	}
	return out
}

// logDet returns Σ log(r² e + s²) over the eigenvalues of each of the channels.
func logDet(channels int, eigen []float64, r2, s2 float64) float64 {
	sum := 0.0
	for _, e := range eigen {
		sum += math.Log(r2*e + s2)
	}
	return float64(channels) * sum
}

// NewDense is any small matrix A, m × n, for "images" of 1×1×n; measurements are
// 1×1×m. m and n are at most 4096.
func NewDense(dev compute.Device, a mat.Matrix) (Linear, error) {
	m, n := a.Dims()
	if m < 1 || n < 1 || m > maxDense || n > maxDense {
		return nil, fmt.Errorf("a matrix of %d×%d, at least 1×1 and at most %d×%d are wanted", m, n, maxDense, maxDense)
	}
	s, err := newSeparable("dense", dev, 1, mat.NewDense(1, 1, []float64{1}), mat.DenseCopyOf(a))
	return ready[Linear](s, err)
}

const maxDense = 4096
