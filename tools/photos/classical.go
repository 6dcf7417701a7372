package main

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// The classical restorations that the prior is compared with. Pictures are dense, channels
// first, on [−1, 1], and so is the scale of σ.

// wiener deblurs y by the Wiener filter (Wiener 1949) for a true, symmetric kernel under
// whole-sample reflection, which the cosine transform of type I diagonalises. The power
// spectrum of the picture is taken as a/f² (Field 1987, 10.1364/JOSAA.4.002379); a is that
// of the greatest likelihood of y, channel by channel, on a ladder of factors √2.
func wiener(y []float32, c, h, w int, kernel measure.Kernel, sigma float64) []float32 {
	th, tw := cosineTransform(h), cosineTransform(w)
	var gain mat.Dense
	gain.Product(waves(h, kernel.H), mat.NewDense(kernel.H, kernel.W, kernel.Weights), waves(w, kernel.W).T())
	transform := func(x *mat.Dense) { x.Product(th, x, tw.T()) }
	out := make([]float32, len(y))
	for channel := range c {
		plane := y[channel*h*w:][:h*w]
		x := mat.NewDense(h, w, nil)
		for i, v := range plane {
			x.Set(i/w, i%w, float64(v))
		}
		transform(x)
		inverse := func(k, l int) float64 { // 1/S up to a, f in cycles per pixel
			fy, fx := float64(k)/float64(2*(h-1)), float64(l)/float64(2*(w-1))
			return fy*fy + fx*fx
		}
		best, a := math.Inf(1), 0.0
		for step := -50.0; step <= 10; step++ {
			try, misfit := math.Pow(2, step/2), 0.0
			for i := 1; i < h*w; i++ { // without the mean
				k, l := i/w, i%w
				v := try*gain.At(k, l)*gain.At(k, l)/inverse(k, l) + sigma*sigma
				misfit += math.Log(v) + x.At(k, l)*x.At(k, l)/v
			}
			if misfit < best {
				best, a = misfit, try
			}
		}
		x.Apply(func(k, l int, v float64) float64 {
			g := gain.At(k, l)
			return v * g / (g*g + sigma*sigma*inverse(k, l)/a)
		}, x)
		transform(x)
		for i := range plane {
			out[channel*h*w+i] = float32(x.At(i/w, i%w))
		}
	}
	return out
}

// cosineTransform is the cosine transform of type I of n ≥ 2 values, scaled to be its own
// inverse.
func cosineTransform(n int) *mat.Dense {
	t := mat.NewDense(n, n, nil)
	t.Apply(func(k, i int, _ float64) float64 {
		v := math.Sqrt(2/float64(n-1)) * math.Cos(math.Pi*float64(k*i)/float64(n-1))
		if i == 0 || i == n-1 {
			v /= 2
		}
		return v
	}, t)
	return t
}

// waves has the n frequencies of that transform as rows, on size points around 0.
func waves(n, size int) *mat.Dense {
	m := mat.NewDense(n, size, nil)
	m.Apply(func(k, i int, _ float64) float64 {
		return math.Cos(math.Pi * float64(k*(i-size/2)) / float64(n-1))
	}, m)
	return m
}

// biharmonic fills the pixels that known does not have (h·w values, 0 is missing) so that
// the squared Laplacian of each channel is least, known pixels as they are (Damelin and
// Hoang 2018, 10.1155/2018/3950312, with edges repeated at the border), by conjugate
// gradients.
func biharmonic(y, known []float32, c, h, w int) ([]float32, error) {
	n := h * w
	lap, twice := make([]float64, n), make([]float64, n)
	laplacian := func(dst, x []float64) {
		for i := range x {
			row, col := i/w, i%w
			sum := 0.0
			if row > 0 {
				sum += x[i-w] - x[i]
			}
			if row < h-1 {
				sum += x[i+w] - x[i]
			}
			if col > 0 {
				sum += x[i-1] - x[i]
			}
			if col < w-1 {
				sum += x[i+1] - x[i]
			}
			dst[i] = sum
		}
	}
	normal := func(x []float64) []float64 { // Δᵀ Δ x where pixels are missing
		laplacian(lap, x)
		laplacian(twice, lap)
		for i, v := range known {
			if v != 0 {
				twice[i] = 0
			}
		}
		return twice
	}
	dot := func(a, b []float64) (sum float64) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	out := make([]float32, len(y))
	for channel := range c {
		x, r, p := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range x {
			x[i] = float64(y[channel*n+i]) * float64(known[i])
		}
		for i, v := range normal(x) {
			r[i], p[i] = -v, -v
		}
		first := dot(r, r)
		rr := first
		for iteration := 0; rr > 1e-12*first; iteration++ {
			if iteration == 10000 {
				return nil, fmt.Errorf("biharmonic inpainting of %d×%d pixels has a residual of %.1e of the first after %d iterations, 1e-6 is wanted: try a mask with smaller holes", w, h, math.Sqrt(rr/first), iteration)
			}
			ap := normal(p)
			step, old := rr/dot(p, ap), rr
			for i := range x {
				x[i] += step * p[i]
				r[i] -= step * ap[i]
			}
			rr = dot(r, r)
			for i := range p {
				p[i] = r[i] + rr/old*p[i]
			}
		}
		for i, v := range x {
			out[channel*n+i] = float32(v)
		}
	}
	return out, nil
}

// nonLocalMeans denoises y (Buades, Coll and Morel 2011, 10.5201/ipol.2011.bcm_nlm, pixel by
// pixel): the mean of 21×21 pixels around, each weighted by exp(−max(d² − 2σ², 0)/h²), where d²
// is the mean squared difference of the patches of 3×3 around the two, over all channels,
// and h = 0.55σ, as published for colour and σ up to 25 of 255. Patches end at the border.
func nonLocalMeans(y []float32, c, h, w int, sigma float64) []float32 {
	const search, patch = 10, 1
	n := h * w
	sum, weights := make([]float64, c*n), make([]float64, n)
	far := make([]float64, n)
	for dy := -search; dy <= search; dy++ {
		for dx := -search; dx <= search; dx++ {
			top, bottom, left, right := max(0, -dy), min(h, h-dy), max(0, -dx), min(w, w-dx) // both pixels exist
			shift := dy*w + dx
			for row := top; row < bottom; row++ {
				for i := row*w + left; i < row*w+right; i++ {
					far[i] = 0
					for k := i; k < c*n; k += n {
						d := float64(y[k] - y[k+shift])
						far[i] += d * d / float64(c)
					}
				}
			}
			for row := top; row < bottom; row++ {
				for col := left; col < right; col++ {
					d, count := 0.0, 0.0
					for u := max(row-patch, top); u <= min(row+patch, bottom-1); u++ {
						for v := max(col-patch, left); v <= min(col+patch, right-1); v++ {
							d, count = d+far[u*w+v], count+1
						}
					}
					weight := math.Exp(-max(d/count-2*sigma*sigma, 0) / (0.55 * 0.55 * sigma * sigma))
					i := row*w + col
					weights[i] += weight
					for k := i; k < c*n; k += n {
						sum[k] += weight * float64(y[k+shift])
					}
				}
			}
		}
	}
	out := make([]float32, len(y))
	for i, v := range sum {
		out[i] = float32(v / weights[i%n])
	}
	return out
}
