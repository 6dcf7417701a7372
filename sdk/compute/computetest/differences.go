package computetest

import "math"

// levels of Richardson extrapolation: the step is halved so often less one, and
// the error of the central difference falls from h² to h^(2·levels).
const levels = 4

// RefTangent is ∂/∂α f(x + αa) at 0 by extrapolated central differences, from
// step down. x's images are repeated to a's. uncertainty is the relative change
// of the last extrapolation, a pessimistic bound on the result's error.
func RefTangent(f func(Array) Array, x, a Array, step float64) (tangent Array, uncertainty float64) {
	x = x.Repeat(a.N)
	return extrapolate(step, func(h float64) Array {
		return f(x.plus(h, a)).plus(-1, f(x.plus(-h, a))).Map(func(v float64) float64 { return v / (2 * h) })
	})
}

// RefSecond is ∂²/∂α∂β f(x + αa + βb + αβ·ab) at 0 in the same way.
func RefSecond(f func(Array) Array, x, a, b, ab Array, step float64) (second Array, uncertainty float64) {
	x = x.Repeat(a.N)
	return extrapolate(step, func(h float64) Array {
		at := func(alpha, beta float64) Array {
			return f(x.plus(alpha, a).plus(beta, b).plus(alpha*beta, ab))
		}
		sum := at(h, h).plus(1, at(-h, -h)).plus(-1, at(h, -h)).plus(-1, at(-h, h))
		return sum.Map(func(v float64) float64 { return v / (4 * h * h) })
	})
}

// extrapolate is Romberg's scheme for an approximation with even powers of h.
func extrapolate(h float64, approximate func(h float64) Array) (Array, float64) {
	var row []Array
	for l := range levels {
		next := []Array{approximate(h / float64(int(1)<<l))}
		for k, coarse := range row {
			q := 1 / (math.Pow(4, float64(k+1)) - 1)
			fine := next[k]
			next = append(next, fine.plus(q, fine).plus(-q, coarse))
		}
		row = next
	}
	best := row[levels-1]
	return best, RelativeError(row[levels-2].V, best.V)
}
