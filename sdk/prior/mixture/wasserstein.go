package mixture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"

	"gonum.org/v1/gonum/floats"
)

// SlicedWasserstein returns the mean, over random unit directions, of the
// 1-Wasserstein distance between the projections of two sets of as many samples
// [N][n]: the mean absolute difference of the sorted projections (Bonneel et
// al. 2015). The published tables use 200 directions; rng must not be nil.
//
// Two sets from one distribution have a distance of the order of its standard
// deviation/√N, not zero.
func SlicedWasserstein(a, b [][]float64, directions int, rng *rand.Rand) (float64, error) {
	if len(a) == 0 || len(a) != len(b) {
		return 0, fmt.Errorf("sliced Wasserstein: sets of %d and %d samples, want as many in both, at least one", len(a), len(b))
	}
	if directions < 1 {
		return 0, fmt.Errorf("sliced Wasserstein: %d directions, want at least 1", directions)
	}
	n := len(a[0])
	if n == 0 {
		return 0, fmt.Errorf("sliced Wasserstein: samples of length 0, want at least 1")
	}
	for _, set := range [][][]float64{a, b} {
		for i, x := range set {
			if len(x) != n {
				return 0, fmt.Errorf("sliced Wasserstein: sample %d has length %d, want %d", i, len(x), n)
			}
			if !finite(x) {
				return 0, fmt.Errorf("sliced Wasserstein: sample %d holds a value that is not finite", i)
			}
		}
	}
	direction := make([]float64, n)
	pa, pb := make([]float64, len(a)), make([]float64, len(b))
	total := 0.0
	for range directions {
		fillNormal(direction, rng)
		floats.Scale(1/floats.Norm(direction, 2), direction)
		project(pa, a, direction)
		project(pb, b, direction)
		total += floats.Distance(pa, pb, 1) / float64(len(a))
	}
	if total /= float64(directions); math.IsInf(total, 0) || math.IsNaN(total) {
		return 0, fmt.Errorf("sliced Wasserstein: distance %g, the samples are too large for float64", total)
	}
	return total, nil
}

// project writes the sorted inner products of the samples with a direction.
func project(dst []float64, samples [][]float64, direction []float64) {
	for i, x := range samples {
		dst[i] = floats.Dot(x, direction)
	}
	sort.Float64s(dst)
}
