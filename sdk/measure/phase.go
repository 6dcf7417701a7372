package measure

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// phase is the magnitude of the Fourier transform of an image that is surrounded
// by zeros. The transform is separable; with the cosines C and sines S of each
// axis its real and imaginary part are
//
//	re = C X Cᵀ − S X Sᵀ,  im = C X Sᵀ + S X Cᵀ
//
// up to the sign of im and a phase for where the image lies among the zeros,
// neither of which the magnitude sees. So the zeros are never stored: C and S have
// a column for each pixel of the image and a row for each frequency.
type phase struct {
	shape
	memory
	y, x fourierAxis
}

// fourierAxis are the matrices of one axis: cos, sin and −sin, and their transposes.
type fourierAxis struct{ cos, sin, minus, cosT, sinT, minusT compute.Tensor }

// NewPhaseRetrieval returns the Fourier magnitude of c×h×w images padded with zeros on
// every side to oversample/8 of their size: f(x) = |F(pad x)| of each channel, F
// orthonormal with the zero frequency at the centre. oversample is above 0 and at
// most 8, 2 in the DPS paper (Chung et al. 2023): 256 pixels are padded to 384.
//
// Where the magnitude is zero its derivative is taken as zero. No image can be told
// from its negative, its reflection or, within the zeros, its translations.
func NewPhaseRetrieval(dev compute.Device, c, h, w int, oversample float64) (Differentiable, error) {
	if err := checkImage(c, h, w); err != nil {
		return nil, err
	}
	if !(oversample > 0 && oversample <= 8) {
		return nil, fmt.Errorf("phase retrieval with oversampling %v, a number above 0 and at most 8 is wanted (2 in the DPS paper)", oversample)
	}
	outH, outW := padded(h, oversample), padded(w, oversample)
	p := &phase{shape: shape{"phase", [3]int{c, h, w}, [3]int{c, outH, outW}}, memory: newMemory(dev)}
	p.y, p.x = p.axis(outH, h), p.axis(outW, w)
	if err := p.ws.Err(); err != nil {
		p.Close()
		return nil, fmt.Errorf("phase retrieval: %w", err)
	}
	return p, nil
}

// padded returns the length of n samples and the zeros on both sides.
func padded(n int, oversample float64) int { return n + 2*int(oversample/8*float64(n)) }

// axis makes the matrices of n frequencies of samples.
func (m *memory) axis(n, samples int) fourierAxis {
	cos, sin := mat.NewDense(n, samples, nil), mat.NewDense(n, samples, nil)
	for u := range n {
		for i := range samples {
			turns := float64((u-n/2)*i%n) / float64(n) // frequency zero is at n/2
			s, c := math.Sincos(2 * math.Pi * turns)
			cos.Set(u, i, c/math.Sqrt(float64(n)))
			sin.Set(u, i, s/math.Sqrt(float64(n)))
		}
	}
	var minus mat.Dense
	minus.Scale(-1, sin)
	return fourierAxis{
		m.matrix(cos), m.matrix(sin), m.matrix(&minus),
		m.matrix(cos.T()), m.matrix(sin.T()), m.matrix(minus.T()),
	}
}

// transform is re, im and re² + im² of x, in scratch.
func (p *phase) transform(x compute.Tensor) (re, im, square compute.Tensor) {
	like := func(name string) compute.Tensor { return p.ws.Scratch(name, x.N, p.out[0], p.out[1], p.out[2]) }
	re, im, square = like("re"), like("im"), like("square")
	t := like("im²")
	p.dev.Separable(re, x, p.y.cos, p.x.cos, false)
	p.dev.Separable(re, x, p.y.sin, p.x.minus, true)
	p.dev.Separable(im, x, p.y.cos, p.x.sin, false)
	p.dev.Separable(im, x, p.y.sin, p.x.cos, true)
	p.dev.Mul(square, re, re)
	p.dev.Mul(t, im, im)
	p.dev.Combine(square, compute.Times(1, square), compute.Times(1, t))
	return re, im, square
}

func (p *phase) Apply(dst, x compute.Tensor) {
	_, _, square := p.transform(x)
	p.dev.Map(dst, compute.Pow(1, 0, 0.5), square)
}

// VJP implements [Differentiable]: the adjoint transform of u re/|F|, u im/|F|. It
// transforms x again.
func (p *phase) VJP(dst, x, u compute.Tensor) {
	re, im, scale := p.transform(x)
	p.dev.Map(scale, compute.Pow(1, 1e-30, -0.5), scale) // finite at a magnitude of zero, where re and im are zero
	p.dev.Mul(scale, scale, u)
	p.dev.Mul(re, re, scale)
	p.dev.Mul(im, im, scale)
	p.dev.Separable(dst, re, p.y.cosT, p.x.cosT, false)
	p.dev.Separable(dst, re, p.y.sinT, p.x.minusT, true)
	p.dev.Separable(dst, im, p.y.cosT, p.x.sinT, true)
	p.dev.Separable(dst, im, p.y.sinT, p.x.cosT, true)
}
