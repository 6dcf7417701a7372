package measure

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// reduced is a separable reduction of the size by a factor.
type reduced struct {
	*separable
	upY, upX compute.Tensor // nearest neighbour: 1 where row/factor is the column
}

// NewSuperResolution returns the reduction of c×h×w images by a factor ≥ 2 that divides
// h and w: bicubic (a = −½) with anti-aliasing and a symmetric border, as MATLAB's
// imresize and the papers' super-resolution task.
func NewSuperResolution(dev compute.Device, c, h, w, factor int) (Linear, error) {
	return newReduced("sr", dev, c, h, w, factor, bicubic)
}

// NewPool returns the reduction of c×h×w images by a factor ≥ 2 that divides h and w,
// each value the mean of factor×factor pixels. A Aᵀ is I/factor².
func NewPool(dev compute.Device, c, h, w, factor int) (Linear, error) {
	return newReduced("pool", dev, c, h, w, factor, means)
}

func newReduced(name string, dev compute.Device, c, h, w, factor int, matrix func(n, f int) *mat.Dense) (Linear, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if factor < 2 || h%factor != 0 || w%factor != 0 {
		return nil, fmt.Errorf("super-resolution by %d of images of %d×%d: a factor ≥ 2 that divides both sizes is wanted", factor, h, w)
	}
	sep, err := newSeparable(fmt.Sprint(name, factor), dev, c, matrix(h, factor), matrix(w, factor))
	if err != nil {
		return ready[Linear](sep, err)
	}
	s := &reduced{separable: sep, upY: sep.matrix(nearest(h, factor)), upX: sep.matrix(nearest(w, factor))}
	return ready[Linear](s, s.ws.Err())
}

// Lift implements [Lifter]: nearest neighbour.
func (s *reduced) Lift(dst, y compute.Tensor) {
	s.dev.Separable(dst, y, s.upY, s.upX, false)
}

// bicubic returns the [n/f × n] matrix of the bicubic reduction by f.
func bicubic(n, f int) *mat.Dense { return reduction(n, f, 2, keys) }

// means returns the [n/f × n] matrix of the means of f values.
func means(n, f int) *mat.Dense { return reduction(n, f, 1, box) }

// reduction returns the [n/f × n] matrix of the reduction by f. Output o is centred at
// (o + ½)f − ½ and weighs the inputs around it by a kernel, zero beyond ±support,
// stretched f times; beyond its edge the image is mirrored between samples
// (−1 → 0, −2 → 1).
func reduction(n, f, support int, kernel func(x float64) float64) *mat.Dense {
	m := mat.NewDense(n/f, n, nil)
	for o := range n / f {
		centre := (float64(o)+0.5)*float64(f) - 0.5
		first := int(math.Ceil(centre - float64(support*f)))
		weights := make([]float64, 2*support*f+1)
		sum := 0.0
		for k := range weights {
			weights[k] = kernel((float64(first+k) - centre) / float64(f))
			sum += weights[k]
		}
		for k, v := range weights {
			i := mirrored(first+k, n)
			m.Set(o, i, m.At(o, i)+v/sum)
		}
	}
	return m
}

// box is 1 on an interval of length 1.
func box(x float64) float64 {
	if math.Abs(x) < 0.5 {
		return 1
	}
	return 0
}

// keys returns the cubic convolution kernel with a = −½ (Keys 1981).
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

// mirrored returns the index that half-sample symmetry puts at i: −1 is 0, n is n − 1.
func mirrored(i, n int) int {
	i = ((i % (2 * n)) + 2*n) % (2 * n)
	if i >= n {
		return 2*n - 1 - i
	}
	return i
}

// nearest returns the [n × n/f] matrix that repeats every sample f times.
func nearest(n, f int) *mat.Dense {
	m := mat.NewDense(n, n/f, nil)
	for i := range n {
		m.Set(i, i/f, 1)
	}
	return m
}
