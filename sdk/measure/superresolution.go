package measure

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// superResolution is a separable reduction of the size by a factor.
type superResolution struct {
	*separable
	upY, upX compute.Tensor // nearest neighbour: 1 where row/factor is the column
}

// NewSuperResolution is the reduction of c×h×w images by a factor ≥ 2 that divides
// h and w: bicubic (a = −½) with anti-aliasing and a symmetric border, as MATLAB's
// imresize and the papers' super-resolution task.
func NewSuperResolution(dev compute.Device, c, h, w, factor int) (Operator, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if factor < 2 || h%factor != 0 || w%factor != 0 {
		return nil, fmt.Errorf("super-resolution by %d of images of %d×%d: a factor ≥ 2 that divides both sizes is wanted", factor, h, w)
	}
	sep, err := newSeparable(fmt.Sprintf("sr%d", factor), dev, c, bicubic(h, factor), bicubic(w, factor))
	if err != nil {
		return ready(sep, err)
	}
	s := &superResolution{separable: sep, upY: sep.matrix(nearest(h, factor)), upX: sep.matrix(nearest(w, factor))}
	return ready(s, s.fixed.Err())
}

// Lift implements [Lifter]: nearest neighbour.
func (s *superResolution) Lift(dst, y compute.Tensor) {
	s.dev.Separable(dst, y, s.upY, s.upX, false)
}

// bicubic is the [n/f × n] matrix of the reduction by f. Output o is centred at
// (o + ½)f − ½ and weighs the 4f inputs around it by the cubic stretched f times;
// beyond its edge the image is mirrored between samples (−1 → 0, −2 → 1).
func bicubic(n, f int) *mat.Dense {
	m := mat.NewDense(n/f, n, nil)
	for o := range n / f {
		centre := (float64(o)+0.5)*float64(f) - 0.5
		first := int(math.Ceil(centre - 2*float64(f)))
		weights := make([]float64, 4*f+1)
		sum := 0.0
		for k := range weights {
			weights[k] = keys((float64(first+k) - centre) / float64(f))
			sum += weights[k]
		}
		for k, v := range weights {
			i := mirrored(first+k, n)
			m.Set(o, i, m.At(o, i)+v/sum)
		}
	}
	return m
}

// keys is the cubic convolution kernel with a = −½ (Keys 1981).
func keys(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x < 1:
		return (1.5*x-2.5)*x*x + 1
	case x < 2:
		return ((-0.5*x+2.5)*x-4)*x + 2
	}
	return 0
}

// mirrored is the index that half-sample symmetry puts at i: −1 is 0, n is n − 1.
func mirrored(i, n int) int {
	i = ((i % (2 * n)) + 2*n) % (2 * n)
	if i >= n {
		return 2*n - 1 - i
	}
	return i
}

// nearest is the [n × n/f] matrix that repeats every sample f times.
func nearest(n, f int) *mat.Dense {
	m := mat.NewDense(n, n/f, nil)
	for i := range n {
		m.Set(i, i/f, 1)
	}
	return m
}
