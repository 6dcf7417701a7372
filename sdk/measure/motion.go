package measure

import (
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// MotionKernel returns a random kernel of the papers' motion blur task: the trace of a
// point that moves over size×size pixels, size odd. intensity is in [0, 1]: 0 is a
// straight line, 1 the most winding, 0.5 the papers'. The weights are not negative
// and sum to 1; they depend on what rng draws alone.
//
// It follows the motionblur package of L. Borodenko, which the code of DPS (Chung
// et al. 2023) uses, step by step, but not its random numbers: a path is drawn on a
// canvas of twice the size, blurred, and reduced.
func MotionKernel(size int, intensity float64, rng *rand.Rand) (Kernel, error) {
	if size < 1 || size%2 == 0 || size > maxMotion {
		return Kernel{}, fmt.Errorf("a motion blur kernel of %d×%d pixels, an odd size from 1 to %d is wanted", size, size, maxMotion)
	}
	if !(intensity >= 0 && intensity <= 1) {
		return Kernel{}, fmt.Errorf("a motion blur of intensity %v, a number from 0 (straight) to 1 is wanted", intensity)
	}
	return exposure(size, motionPath(size, intensity, rng))
}

const maxMotion = 511

// diagonal returns that of the canvas, 2·size × 2·size, which lengths are relative to.
func diagonal(size int) float64 { return 2 * math.Sqrt2 * float64(size) }

// motionPath returns the path on the canvas, x + iy, in pixels.
func motionPath(size int, intensity float64, rng *rand.Rand) []complex128 {
	const slack = 0.1 // keeps steps and turns from vanishing at either end of the intensities
	uniform := func(a, b float64) float64 { return a + (b-a)*rng.Float64() }

	length := 0.75 * diagonal(size) * (uniform(0, 1) + uniform(0, intensity*intensity))
	unit := (1 - intensity + slack) * diagonal(size)
	var steps []float64
	for sum := 0.0; sum < length; {
		step := unit * betaBelow(length/unit, rng)
		steps = append(steps, step)
		sum += step
	}

	// Angles are absolute: the path turns about the first direction. One of zero has no
	// sign, so that a path whose first is zero stays straight.
	most := uniform(0, intensity*math.Pi)
	flip := distuv.Beta{Alpha: 2, Beta: 20, Src: rng}.Rand()
	magnitude := distuv.NewTriangle(0, most+slack, intensity*most, rng)
	angle := uniform(-most, most)
	path := make([]complex128, 0, len(steps)+1)
	var at, mean complex128
	for i, step := range steps {
		if i > 0 {
			next := magnitude.Rand()
			if rng.Float64() < flip {
				next = -next
			}
			switch {
			case angle < 0:
				next = -next
			case angle == 0:
				next = 0
			}
			angle = next
		}
		at += cmplx.Rect(step, angle)
		mean += at
		path = append(path, at)
	}
	if len(path) == 0 { // a length of zero: no motion
		path = append(path, 0)
	}
	mean /= complex(float64(len(path)), 0)
	turn, centre := cmplx.Rect(1, uniform(0, math.Pi)), complex(float64(size), float64(size))
	for i, p := range path {
		path[i] = (p-mean)*turn + centre
	}
	return path
}

// betaBelow draws from Beta(1, 30) given that the value is below limit > 0, by the
// inverse of its distribution function 1 − (1 − x)³⁰: what drawing until one is
// below gives, however small the limit.
func betaBelow(limit float64, rng *rand.Rand) float64 {
	most := -math.Expm1(30 * math.Log1p(-min(limit, 1)))
	return -math.Expm1(math.Log1p(-(1-rng.Float64())*most) / 30)
}

// exposure returns the kernel of a path on the canvas: a line without anti-aliasing,
// int(diagonal/150) pixels wide and at least one (Pillow draws none of width 0), a
// Gaussian blur of standard deviation int(diagonal/100), which is none below 36
// pixels, a reduction by two with the Lanczos kernel of support 3, limited and
// rounded to 256 levels after each direction as Pillow does, and scaled to sum 1.
func exposure(size int, path []complex128) (Kernel, error) {
	n := 2 * size
	canvas := mat.NewDense(n, n, nil)
	draw(canvas, path, max(int(diagonal(size)/150), 1))
	if std := float64(int(diagonal(size) / 100)); std > 0 {
		blur := correlation1D(gaussian(std), n, compute.Reflect)
		canvas.Mul(blur, canvas)
		canvas.Mul(canvas, blur.T())
	}
	reduce := reduction(n, 2, 3, lanczos)
	var wide, grey mat.Dense
	wide.Mul(canvas, reduce.T())
	wide.Apply(byteLevel, &wide)
	grey.Mul(reduce, &wide)
	grey.Apply(byteLevel, &grey)
	return NewKernel(size, size, grey.RawMatrix().Data)
}

func byteLevel(_, _ int, v float64) float64 { return min(max(math.Round(v), 0), 255) }

// draw joins the points, cut to whole pixels, by lines of 255. Lines one pixel wide
// take one pixel in each column, or row where they are steep; wider ones all pixels
// within half the width of the segment.
func draw(canvas *mat.Dense, path []complex128, width int) {
	h, w := canvas.Dims()
	reach := 0
	if width > 1 {
		reach = width
	}
	for i, p := range path {
		from, to := whole(path[max(i-1, 0)]), whole(p)
		n := max(math.Abs(real(to-from)), math.Abs(imag(to-from)), 1)
		for k := 0.0; k <= n; k++ {
			on := (to - from) * complex(k/n, 0)
			x, y := int(real(from)+math.Round(real(on))), int(imag(from)+math.Round(imag(on)))
			for v := max(y-reach, 0); v <= min(y+reach, h-1); v++ {
				for u := max(x-reach, 0); u <= min(x+reach, w-1); u++ {
					if reach == 0 || distance(complex(float64(u), float64(v)), from, to) <= float64(width)/2 {
						canvas.Set(v, u, 255)
					}
				}
			}
		}
	}
}

func whole(p complex128) complex128 { return complex(math.Trunc(real(p)), math.Trunc(imag(p))) }

// distance returns that of a point from the segment ab.
func distance(p, a, b complex128) float64 {
	if a == b {
		return cmplx.Abs(p - a)
	}
	along := real((p-a)*cmplx.Conj(b-a)) / real((b-a)*cmplx.Conj(b-a))
	return cmplx.Abs(p - a - (b-a)*complex(min(max(along, 0), 1), 0))
}

// lanczos is sinc(x) sinc(x/3) for |x| < 3.
func lanczos(x float64) float64 {
	if x == 0 {
		return 1
	}
	if math.Abs(x) >= 3 {
		return 0
	}
	x *= math.Pi
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}
