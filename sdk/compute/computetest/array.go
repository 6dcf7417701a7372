package computetest

import (
	"math/rand/v2"
	"slices"
)

// Array is a dense NCHW array of the float64 oracle.
type Array struct {
	N, C, H, W int
	V          []float64
}

// NewArray returns an array of zeros.
func NewArray(n, c, h, w int) Array {
	return Array{n, c, h, w, make([]float64, n*c*h*w)}
}

// FromFloat32 returns an array of values read from a device.
func FromFloat32(v []float32, n, c, h, w int) Array {
	a := NewArray(n, c, h, w)
	for i := range a.V {
		a.V[i] = float64(v[i])
	}
	return a
}

// Float32 returns the values rounded for a device.
func (a Array) Float32() []float32 {
	out := make([]float32, len(a.V))
	for i, v := range a.V {
		out[i] = float32(v)
	}
	return out
}

// Like returns an array of zeros of a's shape.
func (a Array) Like() Array { return NewArray(a.N, a.C, a.H, a.W) }

// Clone returns a copy.
func (a Array) Clone() Array {
	a.V = slices.Clone(a.V)
	return a
}

// Image returns the values of image n mod N.
func (a Array) Image(n int) []float64 {
	size := a.C * a.H * a.W
	n %= a.N
	return a.V[n*size : (n+1)*size]
}

// Plane returns the values of one channel of image n mod N.
func (a Array) Plane(n, c int) []float64 {
	size := a.H * a.W
	return a.Image(n)[c*size : (c+1)*size]
}

// Repeat returns an array of n images, image i a copy of image i mod N.
func (a Array) Repeat(n int) Array {
	out := NewArray(n, a.C, a.H, a.W)
	for i := range n {
		copy(out.Image(i), a.Image(i))
	}
	return out
}

// Map is f of every value.
func (a Array) Map(f func(float64) float64) Array {
	out := a.Like()
	for i, v := range a.V {
		out.V[i] = f(v)
	}
	return out
}

// plus returns a + c·b, b's images repeated.
func (a Array) plus(c float64, b Array) Array {
	out := a.Clone()
	for n := range a.N {
		o := out.Image(n)
		for i, v := range b.Image(n) {
			o[i] += c * v
		}
	}
	return out
}

// normal draws values scale·N(0,1) + mean that float32 holds exactly.
func normal(rng *rand.Rand, scale, mean float64, n, c, h, w int) Array {
	a := NewArray(n, c, h, w)
	for i := range a.V {
		a.V[i] = float64(float32(mean + scale*rng.NormFloat64()))
	}
	return a
}
