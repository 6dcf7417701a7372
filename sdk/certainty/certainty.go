// Package certainty says how sure a restoration is, from several posterior samples of it, and
// judges whether that is true where the truth is known.
//
// Pictures are slices of any layout, all of one length; a value of a slice is called a pixel
// here. [Of] gives the mean and the standard deviation of the samples, [Estimate.HalfWidth]
// the intervals that follow, [Factor] what to scale them by so that they hold as often as they
// promise. Ratios of distances are in sdk/metric: [metric.Exchangeability].
//
// [metric.Exchangeability]: https://pkg.go.dev/github.com/cmi-diffusion/cmi/sdk/metric#Exchangeability
package certainty

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Estimate is what samples of one measurement say about each pixel.
type Estimate struct {
	Mean []float32
	Std  []float32 // standard deviation, of n−1 degrees of freedom
	N    int       // samples
}

// Of returns the estimate of at least two samples.
func Of(samples [][]float32) (e Estimate, err error) {
	if err := check(samples, 2, nil); err != nil {
		return e, err
	}
	size := len(samples[0])
	e = Estimate{make([]float32, size), make([]float32, size), len(samples)}
	n := float64(len(samples))
	for i := range size {
		sum := 0.0
		for _, x := range samples {
			sum += float64(x[i])
		}
		mean, squares := sum/n, 0.0
		for _, x := range samples {
			d := float64(x[i]) - mean
			squares += d * d
		}
		e.Mean[i], e.Std[i] = float32(mean), float32(math.Sqrt(squares/(n-1)))
	}
	return e, nil
}

// check refuses samples, with the truth where there is one, that are too few, of different
// lengths, or not finite.
func check(samples [][]float32, least int, truth []float32) error {
	if len(samples) < least {
		return fmt.Errorf("certainty: %d samples, want at least %d", len(samples), least)
	}
	all := samples
	if truth != nil {
		all = append(slices.Clip(samples), truth)
	}
	for k, x := range all {
		if len(x) == 0 || len(x) != len(all[0]) {
			return fmt.Errorf("certainty: pictures of %d and %d values, want one length", len(all[0]), len(x))
		}
		for _, v := range x {
			if v-v != 0 {
				return fmt.Errorf("certainty: picture %d holds %v, want finite values", k+1, v)
			}
		}
	}
	return nil
}

// HalfWidth returns, for each pixel, half the width of the interval around the mean in which
// the truth lies with a probability: t·s·√(1 + 1/n), t of Student's distribution with n−1
// degrees of freedom. Where truth and samples are independent draws of one Gaussian this is
// exact for any number of samples n: few of them give wide intervals, not wrong ones.
func (e Estimate) HalfWidth(level float64) ([]float64, error) {
	if !(level > 0 && level < 1) || e.N < 2 {
		return nil, fmt.Errorf("certainty: an interval of probability %v from %d samples, want one between 0 and 1 from at least 2", level, e.N)
	}
	t := distuv.StudentsT{Sigma: 1, Nu: float64(e.N - 1)}.Quantile((1 + level) / 2)
	t *= math.Sqrt(1 + 1/float64(e.N))
	half := make([]float64, len(e.Std))
	for i, s := range e.Std {
		half[i] = t * float64(s)
	}
	return half, nil
}

// Scores returns |truth − mean| / half-width of each pixel: at most 1 where the truth lies in
// the interval, infinite where an interval without width misses it.
func (e Estimate) Scores(truth []float32, half []float64) ([]float64, error) {
	if len(truth) != len(e.Mean) || len(half) != len(e.Mean) {
		return nil, fmt.Errorf("certainty: a truth of %d values and %d intervals for %d means, want one length", len(truth), len(half), len(e.Mean))
	}
	scores := make([]float64, len(truth))
	for i := range truth {
		if d := math.Abs(float64(truth[i]) - float64(e.Mean[i])); d > 0 {
			scores[i] = d / half[i]
		}
	}
	return scores, nil
}

// Factor returns by what intervals are to be scaled so that they hold the truth with
// probability 1−α: the (1−α)(1 + 1/n) quantile of n scores of a calibration set (split
// conformal prediction; Vovk, Gammerman & Shafer 2005, Lei et al. 2018). It holds for further
// pixels that are exchangeable with those of the set; pixels of a picture err together, so
// that the pictures and not the pixels say how far the factor can be trusted.
func Factor(scores []float64, alpha float64) (float64, error) {
	n := len(scores)
	if !(alpha > 0 && alpha < 1) {
		return 0, fmt.Errorf("certainty: alpha is %v, want it between 0 and 1", alpha)
	}
	k := int(math.Ceil((1-alpha)*float64(n+1) - 1e-9))
	if k > n {
		return 0, fmt.Errorf("certainty: %d scores are too few for intervals of probability %v, want at least %d", n, 1-alpha, int(math.Ceil(1/alpha-1e-9))-1)
	}
	sorted := slices.Sorted(slices.Values(scores))
	switch f := sorted[k-1]; {
	case math.IsNaN(sorted[0]): // which sorts first
		return 0, errors.New("certainty: a score is not a number")
	case math.IsInf(f, 1):
		return 0, fmt.Errorf("certainty: more than %v of the intervals have no width and miss the truth: the samples are alike, no factor helps", alpha)
	default:
		return f, nil
	}
}

// Coverage returns the share of the pixels whose score is at most a factor: whose truth lies
// in the intervals scaled by it.
func Coverage(scores []float64, factor float64) float64 {
	inside := 0
	for _, s := range scores {
		if s <= factor {
			inside++
		}
	}
	return float64(inside) / float64(len(scores))
}

// Stratum is the pixels with intervals of about one width.
type Stratum struct {
	Pixels   int
	Width    float64 // mean of the intervals' widths, scaled
	Coverage float64
}

// Strata sorts pixels by the widths of their intervals, cuts them into groups of equal size,
// narrow ones first, and returns each one's coverage. Intervals that hold in the mean of all
// pixels may be too narrow where they are narrow and too wide where they are wide.
func Strata(scores, half []float64, groups int, factor float64) ([]Stratum, error) {
	if len(scores) != len(half) || groups < 1 || groups > len(scores) {
		return nil, fmt.Errorf("certainty: %d groups of %d scores with %d intervals, want as many intervals as scores and no more groups", groups, len(scores), len(half))
	}
	order := make([]int, len(half))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case half[a] < half[b]:
			return -1
		case half[a] > half[b]:
			return 1
		}
		return 0
	})
	out := make([]Stratum, groups)
	for g := range out {
		group := order[g*len(order)/groups : (g+1)*len(order)/groups]
		s := &out[g]
		s.Pixels = len(group)
		for _, i := range group {
			s.Width += 2 * factor * half[i] / float64(len(group))
			if scores[i] <= factor {
				s.Coverage += 1 / float64(len(group))
			}
		}
	}
	return out, nil
}

// Ranks returns the ranks, 0 to n, of the truth among n samples along random directions: how
// many samples have a smaller inner product with the direction than the truth has. Under the
// exact posterior each rank is uniform on its n+1 values (Talts et al. 2018); samples that are
// too narrow give too many of 0 and n, biased ones more of one than of the other. Pictures of
// one size have the same directions for one seed.
func Ranks(truth []float32, samples [][]float32, directions int, seed uint64) ([]int, error) {
	if err := check(samples, 1, truth); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	ranks := make([]int, directions)
	products := make([]float64, len(samples)+1) // the truth's last
	for d := range ranks {
		clear(products)
		for i := range truth {
			a := rng.NormFloat64()
			for k, x := range samples {
				products[k] += a * float64(x[i])
			}
			products[len(samples)] += a * float64(truth[i])
		}
		of, equal := products[len(samples)], 0
		for _, p := range products[:len(samples)] {
			switch {
			case p < of:
				ranks[d]++
			case p == of:
				equal++
			}
		}
		ranks[d] += equal / 2 // half of the samples that equal the truth along it stand on either side
	}
	return ranks, nil
}

// EnergyScore returns E‖x − truth‖ − ½ E‖x − x′‖ over samples x and pairs x ≠ x′ of them,
// divided by √size so that it does not depend on the picture's size (Gneiting & Raftery 2007).
// It is proper: in the mean over pictures no samples score lower than those of the posterior.
func EnergyScore(truth []float32, samples [][]float32) (float64, error) {
	if err := check(samples, 2, truth); err != nil {
		return 0, err
	}
	n := float64(len(samples))
	var toTruth, between float64
	for k, x := range samples {
		toTruth += distance(x, truth)
		for _, other := range samples[:k] {
			between += distance(x, other)
		}
	}
	return (toTruth/n - between/(n*(n-1))) / math.Sqrt(float64(len(truth))), nil
}

func distance(x, y []float32) float64 {
	sum := 0.0
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}
