package computetest

// RefTerm is [compute.Term] for the oracle.
type RefTerm struct {
	X    Array
	Coef []float64 // one, or one for each image of the result
}

// RefCombine is Σ_k Coef·X in n images; terms with fewer images are repeated.
func RefCombine(n int, terms ...RefTerm) Array {
	x := terms[0].X
	out := NewArray(n, x.C, x.H, x.W)
	for i := range n {
		dst := out.Image(i)
		for _, t := range terms {
			coef := t.Coef[i%len(t.Coef)]
			for j, v := range t.X.Image(i) {
				dst[j] += coef * v
			}
		}
	}
	return out
}

// zip is f of the values of a and b in max(a.N, b.N) images of a's shape; b may
// have one channel for all of a's, or one pixel for all of a channel's.
func zip(a, b Array, f func(a, b float64) float64) Array {
	out := NewArray(max(a.N, b.N), a.C, a.H, a.W)
	for n := range out.N {
		for c := range a.C {
			src, other, dst := a.Plane(n, c), b.Plane(n, c%b.C), out.Plane(n, c)
			for i, v := range src {
				dst[i] = f(v, other[i%len(other)])
			}
		}
	}
	return out
}

// RefAddChannel is x + e with e [N,C,1,1] the same over all pixels.
func RefAddChannel(x, e Array) Array {
	return zip(x, e, func(x, e float64) float64 { return x + e })
}

// RefMul returns a ⊙ b; b may have one channel for all of a's.
func RefMul(a, b Array) Array {
	return zip(a, b, func(a, b float64) float64 { return a * b })
}

// clampSlope is g where lo ≤ x ≤ hi and zero elsewhere.
func clampSlope(g, x Array) Array {
	return zip(g, x, func(g, x float64) float64 {
		if float64(lo) <= x && x <= float64(hi) {
			return g
		}
		return 0
	})
}

// RefDot is ⟨a, b⟩ of each image.
func RefDot(a, b Array) []float64 {
	out := make([]float64, max(a.N, b.N))
	for n := range out {
		other := b.Image(n)
		for i, v := range a.Image(n) {
			out[n] += v * other[i]
		}
	}
	return out
}
