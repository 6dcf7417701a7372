package metric

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// TwoSided returns the probability of a Student's t at least as far from zero as t, with that many
// degrees of freedom; 1 where t is not a number, as for two equal lists.
func TwoSided(t float64, freedom int) float64 {
	if math.IsNaN(t) || freedom < 1 {
		return 1
	}
	return 2 * distuv.StudentsT{Sigma: 1, Nu: float64(freedom)}.CDF(-math.Abs(t))
}

// Holm returns the probabilities of several tests corrected for their number: of those below α no
// more than a share α of experiments has one by chance (Holm 1979). They stay in their order.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	out, largest := make([]float64, len(p)), 0.0
	for rank, i := range order {
		largest = max(largest, min(1, p[i]*float64(len(p)-rank)))
		out[i] = largest
	}
	return out
}
