package measure

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// lumaWeights are those of red, green and blue (ITU-R BT.601). They sum to 1.
var lumaWeights = [3]float64{0.299, 0.587, 0.114}

// luma is the grey picture of a colour one.
type luma struct {
	shape
	memory
	square float64 // Σ weight², for A Aᵀ is that multiple of I
}

// NewLuma is colourisation of 3×h×w images: the measurement is the luma
// 0.299 R + 0.587 G + 0.114 B, 1×h×w.
func NewLuma(dev compute.Device, c, h, w int) (Linear, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if c != 3 {
		return nil, fmt.Errorf("colourisation of images with %d channels, 3 (red, green, blue) are wanted", c)
	}
	l := &luma{shape: shape{"colourise", [3]int{c, h, w}, [3]int{1, h, w}}, memory: newMemory(dev)}
	for _, v := range lumaWeights {
		l.square += v * v
	}
	return l, nil
}

func (l *luma) Measured() int { return l.out[1] * l.out[2] }

func (l *luma) Apply(dst, x compute.Tensor) {
	var terms []compute.Term
	for i, v := range lumaWeights {
		terms = append(terms, compute.Times(v, x.Channels(i, i+1)))
	}
	l.dev.Combine(dst, terms...)
}

func (l *luma) Adjoint(dst, y compute.Tensor) {
	for i, v := range lumaWeights {
		l.dev.Combine(dst.Channels(i, i+1), compute.Times(v, y))
	}
}

// Lift implements [Lifter]: the grey picture in every channel.
func (l *luma) Lift(dst, y compute.Tensor) {
	for i := range lumaWeights {
		l.dev.Combine(dst.Channels(i, i+1), compute.Times(1, y))
	}
}

func (l *luma) Scale(dst, z compute.Tensor, factor float64) {
	l.dev.Combine(dst, compute.Times(factor, z))
}

func (l *luma) LargestEigenvalue() float64 { return l.square }

func (l *luma) Power(dst, z compute.Tensor, r2, s2, p float64) {
	l.Scale(dst, z, math.Pow(bound(l, r2, s2), p))
}

// Function implements [Spectral].
func (l *luma) Function(dst, z compute.Tensor, f func(float64) float64) {
	l.Scale(dst, z, f(l.square))
}

func (l *luma) LogDet(r2, s2 float64) float64 {
	return float64(l.Measured()) * math.Log(bound(l, r2, s2))
}
