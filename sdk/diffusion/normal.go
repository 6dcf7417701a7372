package diffusion

import "math"

// The normals must have the same bits everywhere. The standard library's
// logarithm and sine differ between architectures (assembly, fused
// multiply-adds), so they are written out here from exactly rounded operations
// only; times keeps a product from being fused into a sum.

func times(a, b float64) float64 { return float64(a * b) }

// boxMuller turns two words into two independent normals (Box & Muller 1958):
// radius √(−2 ln u), u = (a + ½)/2³², at the angle 2π((b + ½)/2³² − ⅛).
func boxMuller(a, b uint32) (x, y float32) {
	r := math.Sqrt(times(-2, naturalLog((float64(a)+0.5)/(1<<32))))
	c, s := turn(b)
	return float32(times(r, c)), float32(times(r, s))
}

// naturalLog is ln u for normal u in (0, 1), to about 1 ulp (the algorithm of
// FreeBSD's e_log.c).
func naturalLog(u float64) float64 {
	m, e := math.Frexp(u)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	f, k := m-1, float64(e)
	s := f / (2 + f)
	s2 := times(s, s)
	odd := [...]float64{6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
		1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01} // ≈ 2/(2n+3)
	half := times(0.5, times(f, f))
	correction := times(s, half+times(s2, horner(s2, odd[:])))
	const ln2Hi, ln2Lo = 6.93147180369123816490e-01, 1.90821492927058770002e-10
	return times(k, ln2Hi) - ((half - (correction + times(k, ln2Lo))) - f)
}

// turn returns the cosine and sine of 2π((w + ½)/2³² − ⅛): a quarter turn from the
// upper two bits, and from the others an angle within ±π/4, where the Taylor
// series to order 17 is exact to rounding. The fraction of a turn has 31 bits, so
// that it is exact however it is computed.
func turn(w uint32) (cos, sin float64) {
	angle := times((float64(w&(1<<30-1))+0.5)/(1<<30)-0.5, math.Pi/2)
	a2 := times(angle, angle)
	s := times(angle, horner(a2, sine[:]))
	c := horner(a2, cosine[:])
	switch w >> 30 {
	case 0:
		return c, s
	case 1:
		return -s, c
	case 2:
		return -c, -s
	default:
		return s, -c
	}
}

// sine is (−1)^n/(2n+1)!, cosine is (−1)^n/(2n)!.
var (
	sine = [...]float64{1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800,
		1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000}
	cosine = [...]float64{1, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800,
		1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000}
)

// horner returns Σ c_n x^n.
func horner(x float64, c []float64) float64 {
	sum := 0.0
	for i := len(c) - 1; i >= 0; i-- {
		sum = c[i] + times(x, sum)
	}
	return sum
}
