package measure

import (
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// NewBlur returns the correlation of each channel of c×h×w images with a kernel; a
// measurement has the image's shape. Power is exact for a kernel that is the
// product of a column and a row (a Gaussian) with either border, and for any
// kernel with a circular border. Otherwise it is the bound of [Power].
func NewBlur(dev compute.Device, c, h, w int, kernel Kernel, border compute.Border) (Linear, error) {
	return newBlur("blur", dev, c, h, w, kernel, border)
}

func newBlur(name string, dev compute.Device, c, h, w int, kernel Kernel, border compute.Border) (Linear, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if err := kernel.check(h, w, border); err != nil {
		return nil, err
	}
	if column, row, ok := kernel.factor(); ok {
		s, err := newSeparable(name, dev, c, correlation1D(column, h, border), correlation1D(row, w, border))
		return ready[Linear](s, err)
	}
	image := [3]int{c, h, w}
	b := blur{shape: shape{name, image, image}, memory: newMemory(dev), border: border}
	b.kernel = b.matrix(mat.NewDense(kernel.H, kernel.W, kernel.Weights))
	if border == compute.Circular {
		op := newCircular(b, kernel)
		return ready[Linear](op, op.ws.Err())
	}
	err := b.ws.Err()
	if err == nil {
		b.largest, err = powerIteration(&b, b.ws, [3]int{1, h, w}, [3]int{1, h, w})
	}
	return ready[Linear](&b, err)
}

// blur is a correlation with a kernel of any form. It has no spectral form.
type blur struct {
	shape
	memory
	kernel  compute.Tensor
	border  compute.Border
	largest float64 // λ_max(A Aᵀ)
}

func (b *blur) Measured() int { return b.out[0] * b.out[1] * b.out[2] }

func (b *blur) Apply(dst, x compute.Tensor) { b.dev.Correlate(dst, x, b.kernel, b.border, false) }

func (b *blur) Adjoint(dst, y compute.Tensor) { b.dev.Correlate(dst, y, b.kernel, b.border, true) }

func (b *blur) Scale(dst, z compute.Tensor, factor float64) {
	b.dev.Combine(dst, compute.Times(factor, z))
}

func (b *blur) LargestEigenvalue() float64 { return b.largest }
