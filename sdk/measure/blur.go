package measure

import (
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// NewBlur is the correlation of each channel of c×h×w images with a kernel; a
// measurement has the image's shape. Power is exact for a kernel that is the
// product of a column and a row (a Gaussian) with either border, and for any
// kernel with a circular border. Otherwise it is the bound of [Operator].
func NewBlur(dev compute.Device, c, h, w int, kernel Kernel, border compute.Border) (Operator, error) {
	return newBlur("blur", dev, c, h, w, kernel, border)
}

func newBlur(name string, dev compute.Device, c, h, w int, kernel Kernel, border compute.Border) (Operator, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if err := kernel.check(h, w, border); err != nil {
		return nil, err
	}
	if column, row, ok := kernel.factor(); ok {
		s, err := newSeparable(name, dev, c, correlation1D(column, h, border), correlation1D(row, w, border))
		return ready(s, err)
	}
	image := [3]int{c, h, w}
	b := blur{shape: shape{name, image, image}, memory: newMemory(dev), border: border}
	b.kernel = b.matrix(mat.NewDense(kernel.H, kernel.W, kernel.Weights))
	if border == compute.Circular {
		op := newCircular(b, kernel)
		return ready(op, op.fixed.Err())
	}
	op := &bounded{blur: b}
	if err := op.fixed.Err(); err != nil {
		return ready(op, err)
	}
	var err error
	op.largest, err = powerIteration(op, &op.memory, [3]int{1, h, w}, [3]int{1, h, w})
	return ready(op, err)
}

// blur is a correlation with a kernel of any form.
type blur struct {
	shape
	memory
	kernel  compute.Tensor
	border  compute.Border
	largest float64 // λ_max(A Aᵀ)
}

// Measured implements [Operator].
func (b *blur) Measured() int { return b.out[0] * b.out[1] * b.out[2] }

// Apply implements [Operator].
func (b *blur) Apply(dst, x compute.Tensor) { b.dev.Correlate(dst, x, b.kernel, b.border, false) }

// Adjoint implements [Operator].
func (b *blur) Adjoint(dst, y compute.Tensor) { b.dev.Correlate(dst, y, b.kernel, b.border, true) }

// LargestEigenvalue implements [Operator].
func (b *blur) LargestEigenvalue() float64 { return b.largest }

// bounded is a blur without a spectral form: P is taken as (r² λ_max + s²) I.
type bounded struct{ blur }

// Power implements [Operator].
func (b *bounded) Power(dst, z compute.Tensor, r2, s2, p float64) {
	b.dev.Combine(dst, compute.Times(math.Pow(bound(r2, s2, b.largest), p), z))
}

// LogDet implements [Operator].
func (b *bounded) LogDet(r2, s2 float64) float64 {
	return float64(b.Measured()) * math.Log(bound(r2, s2, b.largest))
}

// Exact implements [Operator].
func (*bounded) Exact() bool { return false }

// PseudoInverse implements [Operator].
func (b *bounded) PseudoInverse(dst, y compute.Tensor, lambda float64) error {
	return solve(b, &b.memory, dst, y, lambda)
}
