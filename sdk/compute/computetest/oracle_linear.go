package computetest

import "github.com/cmi-diffusion/cmi/sdk/compute"

// RefConv returns the k×k convolution with stride 1 and zero padding k/2:
// weight is [out, x.C, k, k], bias [out] or nil.
func RefConv(x Array, weight, bias []float64, out, k int) Array {
	y := NewArray(x.N, out, x.H, x.W)
	eachTap(x.N, out, x.C, k, x.H, x.W, func(n, o, i, tap, to, from, count int) {
		w := weight[(o*x.C+i)*k*k+tap]
		src, dst := x.Plane(n, i)[from:from+count], y.Plane(n, o)[to:to+count]
		for j, v := range src {
			dst[j] += w * v
		}
	})
	for n := range x.N {
		for o, b := range bias {
			p := y.Plane(n, o)
			for j := range p {
				p[j] += b
			}
		}
	}
	return y
}

// RefConvAdjoint returns the transpose of [RefConv] without bias: y has the
// convolution's output channels, the result has in channels.
func RefConvAdjoint(y Array, weight []float64, in, k int) Array {
	x := NewArray(y.N, in, y.H, y.W)
	eachTap(y.N, y.C, in, k, y.H, y.W, func(n, o, i, tap, to, from, count int) {
		w := weight[(o*in+i)*k*k+tap]
		src, dst := y.Plane(n, o)[to:to+count], x.Plane(n, i)[from:from+count]
		for j, v := range src {
			dst[j] += w * v
		}
	})
	return x
}

// eachTap visits the rows that meet in a convolution: count values of output
// channel o from index to, and of input channel i from index from.
func eachTap(n, out, in, k, h, w int, visit func(n, o, i, tap, to, from, count int)) {
	for n := range n {
		for o := range out {
			for i := range in {
				for tap := range k * k {
					dy, dx := tap/k-k/2, tap%k-k/2
					left, right := max(0, -dx), min(w, w-dx)
					for row := max(0, -dy); row < min(h, h-dy) && left < right; row++ {
						visit(n, o, i, tap, row*w+left, (row+dy)*w+left+dx, right-left)
					}
				}
			}
		}
	}
}

// RefResample changes the resolution by two and multiplies by scale.
func RefResample(x Array, kind compute.Resampling, scale float64) Array {
	up := kind == compute.Up2 || kind == compute.ZeroInsert2
	y := NewArray(x.N, x.C, x.H/2, x.W/2)
	low, high := y, x
	if up {
		y = NewArray(x.N, x.C, x.H*2, x.W*2)
		low, high = x, y
	}
	for p := range x.N * x.C {
		for r := range low.H * 2 {
			for c := range low.W * 2 {
				l, h := (p*low.H+r/2)*low.W+c/2, (p*high.H+r)*high.W+c
				if (kind == compute.Subsample2 || kind == compute.ZeroInsert2) && (r%2 != 0 || c%2 != 0) {
					continue
				}
				if up {
					y.V[h] = scale * x.V[l]
				} else {
					y.V[l] += scale * x.V[h]
				}
			}
		}
	}
	return y
}

// RefSeparable is L·x·Rᵀ for each channel image; l is [1,1,h',h], r is [1,1,w',w].
func RefSeparable(x, l, r Array) Array {
	y := NewArray(x.N, x.C, l.H, r.H)
	half := make([]float64, l.H*x.W)
	for n := range x.N {
		for c := range x.C {
			src, dst := x.Plane(n, c), y.Plane(n, c)
			product(half, l.V, src, l.H, x.H, x.W, x.W, 1)
			product(dst, half, r.V, l.H, x.W, r.H, 1, x.W)
		}
	}
	return y
}

// product is dst[m,n] = a[m,k]·b, where b's element (i, j) is b[i·rowStep + j·colStep].
func product(dst, a, b []float64, m, k, n, rowStep, colStep int) {
	for i := range m {
		for j := range n {
			var sum float64
			for l := range k {
				sum += a[i*k+l] * b[l*rowStep+j*colStep]
			}
			dst[i*n+j] = sum
		}
	}
}

// RefTranspose transposes each channel image.
func RefTranspose(x Array) Array {
	y := NewArray(x.N, x.C, x.W, x.H)
	for p := range x.N * x.C {
		for r := range x.H {
			for c := range x.W {
				y.V[(p*x.W+c)*x.H+r] = x.V[(p*x.H+r)*x.W+c]
			}
		}
	}
	return y
}

// RefCorrelate returns the depthwise cross-correlation with one kernel [1,1,kh,kw].
func RefCorrelate(x, kernel Array, border compute.Border) Array {
	y := x.Like()
	eachPair(x, kernel, border, func(out, in int, w float64) { y.V[out] += w * x.V[in] })
	return y
}

// RefCorrelateAdjoint returns the transpose of [RefCorrelate].
func RefCorrelateAdjoint(y, kernel Array, border compute.Border) Array {
	x := y.Like()
	eachPair(y, kernel, border, func(out, in int, w float64) { x.V[in] += w * y.V[out] })
	return x
}

// eachPair visits the matrix of a correlation entry by entry.
func eachPair(shape, kernel Array, border compute.Border, visit func(out, in int, w float64)) {
	h, w := shape.H, shape.W
	for p := range shape.N * shape.C {
		for r := range h {
			for c := range w {
				for i := range kernel.H {
					from := extend(r+i-kernel.H/2, h, border)
					for j := range kernel.W {
						at := extend(c+j-kernel.W/2, w, border)
						visit((p*h+r)*w+c, (p*h+from)*w+at, kernel.V[i*kernel.W+j])
					}
				}
			}
		}
	}
}

// extend finds the pixel that stands at index i beyond the edge.
func extend(i, size int, border compute.Border) int {
	if border == compute.Circular {
		return ((i % size) + size) % size
	}
	if i < 0 {
		i = -i
	}
	if i >= size {
		i = 2*(size-1) - i
	}
	return i
}
