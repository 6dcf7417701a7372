package measure

import (
	"math"

	"gonum.org/v1/gonum/dsp/fourier"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// circular is a blur with a periodic border. A Aᵀ is a symmetric convolution, so
// it is diagonal in the real Hartley basis cas(2π(uy/h + vx/w)), cas = cos + sin,
// with eigenvalues |k̂(u, v)|². The transform is separable but for one identity,
// cas(a + b) = cos a cas b + sin a cas(−b):
//
//	H(X) = C X (C + S)ᵀ + S X (C − S)ᵀ
//
// with the cosine and sine matrices C and S of each size. Scaled to be
// orthonormal it is its own inverse. (Bracewell 1983)
type circular struct {
	blur
	cos, sin    compute.Tensor // [h, h]
	plus, minus compute.Tensor // [w, w]: C + S and C − S
	eigen       compute.Tensor // [1,1,h,w]
	values      []float64
}

func newCircular(b blur, kernel Kernel) *circular {
	_, h, w := b.In()
	o := &circular{blur: b}
	c, s := cosines(h)
	o.cos, o.sin = o.matrix(c), o.matrix(s)
	c, s = cosines(w)
	var sum, difference mat.Dense
	sum.Add(c, s)
	difference.Sub(c, s)
	o.plus, o.minus = o.matrix(&sum), o.matrix(&difference)
	o.values = powerSpectrum(kernel, h, w)
	o.eigen = o.matrix(mat.NewDense(h, w, o.values))
	for _, v := range o.values {
		o.largest = max(o.largest, v)
	}
	return o
}

// cosines returns the n×n matrices of cos(2πij/n)/√n and sin(2πij/n)/√n.
func cosines(n int) (c, s *mat.Dense) {
	c, s = mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
	for i := range n {
		for j := range n {
			sin, cos := math.Sincos(2 * math.Pi * float64(i*j%n) / float64(n))
			c.Set(i, j, cos/math.Sqrt(float64(n)))
			s.Set(i, j, sin/math.Sqrt(float64(n)))
		}
	}
	return c, s
}

// powerSpectrum is |k̂|² of the kernel wrapped around h×w samples.
func powerSpectrum(kernel Kernel, h, w int) []float64 {
	grid := make([]complex128, h*w)
	for i, v := range kernel.Weights {
		grid[i/kernel.W%h*w+i%kernel.W%w] += complex(v, 0)
	}
	rows, columns := fourier.NewCmplxFFT(w), fourier.NewCmplxFFT(h)
	for y := range h {
		rows.Coefficients(grid[y*w:(y+1)*w], grid[y*w:(y+1)*w])
	}
	line, out := make([]complex128, h), make([]float64, h*w)
	for x := range w {
		for y := range h {
			line[y] = grid[y*w+x]
		}
		for y, v := range columns.Coefficients(nil, line) {
			out[y*w+x] = real(v)*real(v) + imag(v)*imag(v)
		}
	}
	return out
}

// hartley computes dst = H(src).
func (o *circular) hartley(dst, src compute.Tensor) {
	o.dev.Separable(dst, src, o.cos, o.plus, false)
	o.dev.Separable(dst, src, o.sin, o.minus, true)
}

func (o *circular) Power(dst, z compute.Tensor, r2, s2, p float64) {
	weight := o.ws.Scratch("weight", 1, 1, z.H, z.W)
	o.dev.Map(weight, compute.Pow(float32(r2), float32(floor(r2, s2, o.largest)), float32(p)), o.eigen)
	o.weigh(dst, z, weight)
}

// Function implements [Spectral].
func (o *circular) Function(dst, z compute.Tensor, f func(float64) float64) {
	weight := o.ws.Scratch("weight", 1, 1, z.H, z.W)
	o.dev.Write(weight, mapped(o.values, f))
	o.weigh(dst, z, weight)
}

// weigh multiplies the coordinates of z among the eigenvectors of A Aᵀ by a weight for each.
func (o *circular) weigh(dst, z, weight compute.Tensor) {
	t := o.ws.ScratchLike("coordinates", z)
	o.hartley(t, z)
	o.dev.Mul(t, t, weight)
	o.hartley(dst, t)
}

func (o *circular) LogDet(r2, s2 float64) float64 {
	return logDet(o.in[0], o.values, r2, floor(r2, s2, o.largest))
}
