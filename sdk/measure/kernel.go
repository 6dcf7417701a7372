package measure

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Kernel is a blur kernel of H×W weights, both odd, row-major. It is correlated
// with the image, not flipped, its centre at the pixel.
type Kernel struct {
	H, W    int
	Weights []float64
}

// GaussianKernel returns the kernel of the papers' Gaussian blur task: a unit impulse
// at the centre of size×size zeros, size odd, put through a Gaussian filter of
// that standard deviation in pixels, truncated at 4 standard deviations. Its
// weights sum to 1.
func GaussianKernel(size int, std float64) (Kernel, error) {
	if size < 1 || size%2 == 0 || !(std > 0) || std > 1e4 {
		return Kernel{}, fmt.Errorf("a Gaussian kernel of %d×%d pixels with standard deviation %v: an odd size and a positive standard deviation are wanted", size, size, std)
	}
	filter := gaussian(std)
	radius := len(filter) / 2
	line := make([]float64, size)
	for i := range line {
		for k, v := range filter {
			if mirrored(i+k-radius, size) == size/2 { // the filter mirrors at the edge of the zeros
				line[i] += v
			}
		}
	}
	kernel := Kernel{H: size, W: size}
	for _, a := range line {
		for _, b := range line {
			kernel.Weights = append(kernel.Weights, a*b)
		}
	}
	return kernel, nil
}

// gaussian returns a Gaussian of that standard deviation in samples, truncated at 4
// standard deviations, odd in length and of sum 1.
func gaussian(std float64) []float64 {
	radius := int(4*std + 0.5)
	filter := make([]float64, 2*radius+1)
	sum := 0.0
	for k := range filter {
		x := float64(k-radius) / std
		filter[k] = math.Exp(-x * x / 2)
		sum += filter[k]
	}
	for k := range filter {
		filter[k] /= sum
	}
	return filter
}

// NewKernel returns a user's kernel of h×w weights, both odd, row-major, divided by
// their sum, which must be positive; single weights may be negative.
func NewKernel(h, w int, weights []float64) (Kernel, error) {
	k := Kernel{H: h, W: w, Weights: slices.Clone(weights)}
	if largest := floats.Norm(weights, math.Inf(1)); largest > mostWeight && !math.IsInf(largest, 1) {
		floats.Scale(1/largest, k.Weights) // else the sum may overflow
	}
	if err := k.form(); err != nil {
		return Kernel{}, err
	}
	var sum, size float64
	for _, v := range k.Weights {
		sum += v
		size += math.Abs(v)
	}
	if !(sum > 1e-6*size) {
		return Kernel{}, fmt.Errorf("the weights of the blur kernel sum to %v and cannot be scaled to 1: a positive sum is wanted", sum)
	}
	if math.Abs(sum-1) > 1e-12 { // one that was divided before stays as it is
		for i := range k.Weights {
			k.Weights[i] /= sum
		}
	}
	return k, nil
}

// PictureKernel returns a kernel drawn as a picture of odd sizes: black is 0, brighter
// is more, colours count by their luma, transparency is black. The weights are
// scaled to sum 1.
func PictureKernel(src image.Image) (Kernel, error) {
	b := src.Bounds()
	weights := make([]float64, 0, b.Dx()*b.Dy())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			weights = append(weights, float64(color.Gray16Model.Convert(src.At(x, y)).(color.Gray16).Y))
		}
	}
	return NewKernel(b.Dy(), b.Dx(), weights)
}

// mostWeight is the largest weight of a kernel, not yet divided by its sum.
const mostWeight = 1e6

// form says what is wrong with the sizes or the weights of a kernel.
func (k Kernel) form() error {
	if k.H < 1 || k.W < 1 || k.H%2 == 0 || k.W%2 == 0 || len(k.Weights) != k.H*k.W {
		return fmt.Errorf("a blur kernel of %d×%d with %d weights: odd sizes and a weight for each place are wanted", k.H, k.W, len(k.Weights))
	}
	largest := 0.0
	for i, v := range k.Weights {
		if math.IsNaN(v) || math.IsInf(v, 0) || math.Abs(v) > mostWeight {
			return fmt.Errorf("blur kernel weight %d is %v, numbers up to 1e6 are wanted", i, v)
		}
		largest = max(largest, math.Abs(v))
	}
	if largest < 1e-12 {
		return fmt.Errorf("the blur kernel is zero: nothing would be measured")
	}
	return nil
}

// check says what is wrong with a kernel for images of h×w.
func (k Kernel) check(h, w int, border compute.Border) error {
	if err := k.form(); err != nil {
		return err
	}
	if border != compute.Reflect && border != compute.Circular {
		return fmt.Errorf("unknown border %d: compute.Reflect or compute.Circular is wanted", border)
	}
	if border == compute.Reflect && (h <= k.H/2 || w <= k.W/2) {
		return fmt.Errorf("a blur kernel of %d×%d is too large to reflect images of %d×%d: take a smaller one or a circular border", k.H, k.W, h, w)
	}
	return nil
}

// factor splits a kernel of rank one, to 1e-6 of its largest weight, into the
// product of a column and a row.
func (k Kernel) factor() (column, row []float64, ok bool) {
	at := 0
	for i, v := range k.Weights {
		if math.Abs(v) > math.Abs(k.Weights[at]) {
			at = i
		}
	}
	peak := k.Weights[at]
	row = append(row, k.Weights[at/k.W*k.W:][:k.W]...)
	for y := range k.H {
		column = append(column, k.Weights[y*k.W+at%k.W]/peak)
	}
	for i, v := range k.Weights {
		if math.Abs(v-column[i/k.W]*row[i%k.W]) > 1e-6*math.Abs(peak) {
			return nil, nil, false
		}
	}
	return column, row, true
}

// correlation1D returns the [n × n] matrix that correlates n samples with weights.
func correlation1D(weights []float64, n int, border compute.Border) *mat.Dense {
	m := mat.NewDense(n, n, nil)
	for i := range n {
		for k, v := range weights {
			at := i + k - len(weights)/2
			switch {
			case border == compute.Circular:
				at = ((at % n) + n) % n
			case at < 0:
				at = -at
			case at >= n:
				at = 2*(n-1) - at
			}
			m.Set(i, at, m.At(i, at)+v)
		}
	}
	return m
}
