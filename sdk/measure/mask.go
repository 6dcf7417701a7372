package measure

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// mask keeps some pixels, the same in all channels, and zeroes the others:
// A = diag(m), m of 0 and 1.
type mask struct {
	shape
	memory
	keep     compute.Tensor // [1,1,h,w]
	measured int
}

// NewMask is inpainting of c×h×w images: keep holds h·w values row-major, 1 for a
// known pixel and 0 for a missing one. A measurement has the image's shape, zero
// where a pixel is missing.
func NewMask(dev compute.Device, c, h, w int, keep []float32) (Linear, error) {
	return newMask("mask", dev, c, h, w, keep)
}

// NewIdentity is denoising: A = I.
func NewIdentity(dev compute.Device, c, h, w int) (Linear, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	keep := make([]float32, h*w)
	for i := range keep {
		keep[i] = 1
	}
	return newMask("denoise", dev, c, h, w, keep)
}

func newMask(name string, dev compute.Device, c, h, w int, keep []float32) (Linear, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if len(keep) != h*w {
		return nil, fmt.Errorf("a mask of %d values for images of %d×%d, %d are wanted", len(keep), h, w, h*w)
	}
	m := &mask{shape: shape{name, [3]int{c, h, w}, [3]int{c, h, w}}, memory: newMemory(dev)}
	for i, v := range keep {
		switch v {
		case 0:
		case 1:
			m.measured += c
		default:
			return nil, fmt.Errorf("mask value %d is %v, 0 (missing) or 1 (known) is wanted", i, v)
		}
	}
	if m.measured == 0 {
		return nil, fmt.Errorf("the mask keeps no pixel of %d×%d: nothing would be measured", h, w)
	}
	m.keep = m.ws.FromHost(keep, 1, 1, h, w)
	return ready[Linear](m, m.ws.Err())
}

func (m *mask) Measured() int { return m.measured }

func (m *mask) Apply(dst, x compute.Tensor) { m.dev.Mul(dst, x, m.keep) }

// Adjoint implements [Linear]: A is symmetric.
func (m *mask) Adjoint(dst, y compute.Tensor) { m.dev.Mul(dst, y, m.keep) }

func (m *mask) Lift(dst, y compute.Tensor) { m.dev.Mul(dst, y, m.keep) }

func (m *mask) Scale(dst, z compute.Tensor, factor float64) {
	m.dev.Mul(dst, z, m.keep)
	if factor != 1 {
		m.dev.Combine(dst, compute.Times(factor, dst))
	}
}

func (*mask) LargestEigenvalue() float64 { return 1 }

// Power implements [Spectral]: A Aᵀ = I on the known pixels.
func (m *mask) Power(dst, z compute.Tensor, r2, s2, p float64) {
	m.Scale(dst, z, math.Pow(bound(m, r2, s2), p))
}

// Function implements [Spectral].
func (m *mask) Function(dst, z compute.Tensor, f func(float64) float64) { m.Scale(dst, z, f(1)) }

func (m *mask) LogDet(r2, s2 float64) float64 {
	return float64(m.measured) * math.Log(bound(m, r2, s2))
}

// RandomMask returns a mask for [NewMask] with ⌊fraction·h·w⌋ missing pixels, drawn
// without replacement. fraction is in [0, 1); 0.9 in the paper.
func RandomMask(h, w int, fraction float64, rng *rand.Rand) ([]float32, error) {
	if err := checkImage(1, h, w); err != nil {
		return nil, err
	}
	if !(fraction >= 0 && fraction < 1) {
		return nil, fmt.Errorf("%v of the pixels missing, a fraction from 0 to below 1 is wanted", fraction)
	}
	keep := make([]float32, h*w)
	for i, pixel := range rng.Perm(h * w) {
		if i >= int(fraction*float64(h*w)) {
			keep[pixel] = 1
		}
	}
	return keep, nil
}

// BoxMask returns a mask for [NewMask] that misses a box of size×size pixels, at a
// place uniform within a margin of 1/16 of the image: for 128 of 256 pixels, top
// and left are in [16, 112).
func BoxMask(h, w, size int, rng *rand.Rand) ([]float32, error) {
	if err := checkImage(1, h, w); err != nil {
		return nil, err
	}
	placesY, placesX := h-size-2*(h/16), w-size-2*(w/16)
	if size < 1 || placesY < 1 || placesX < 1 {
		return nil, fmt.Errorf("a box of %d×%d pixels does not fit into %d×%d with a margin of 1/16: take a smaller one", size, size, h, w)
	}
	top, left := h/16+rng.IntN(placesY), w/16+rng.IntN(placesX)
	keep := make([]float32, h*w)
	for i := range keep {
		y, x := i/w-top, i%w-left
		if y < 0 || y >= size || x < 0 || x >= size {
			keep[i] = 1
		}
	}
	return keep, nil
}
