package metric

import (
	"errors"
	"fmt"
)

// Distance compares each image of x with the one of y, [N,C,H,W] on [0, 1]: 0 for
// equal images, larger for less similar ones. [SquaredError] and LPIPS are such.
type Distance func(x, y []float32, n, c, h, w int) ([]float64, error)

// SquaredError returns the mean squared error of each image of x against y, both
// [N,C,H,W] on [0, 1].
func SquaredError[F Float](x, y []F, n, c, h, w int) ([]float64, error) {
	size, err := batch("squared error", x, y, n, c, h, w)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = squaredError(x[i*size:(i+1)*size], y[i*size:(i+1)*size])
	}
	return out, nil
}

func squaredError[F Float](x, y []F) float64 {
	sum := 0.0
	for k := range x {
		d := float64(x[k]) - float64(y[k])
		sum += d * d
	}
	return sum / float64(len(x))
}

// Exchangeability measures whether posterior samples are as far from each other as
// they are from the truth. Under the exact posterior the truth and two independent
// samples x, x′ of one measurement are exchangeable, so that
//
//	ratio = Σ d(x, x′) / Σ ½(d(x, truth) + d(x′, truth)),
//
// summed over images, is 1 in expectation of its parts, in any distance d. Below 1
// the sampler is over-confident, above 1 too diffuse. Plain noise raises the ratio
// in squared error and not in LPIPS, so read the two together.
//
// between, first and second hold d(x, x′), d(x, truth) and d(x′, truth) of each
// image, finite and ≥ 0. lo to hi is the 95 % percentile bootstrap interval over
// images; see [PairedBootstrap] for resamples and seed. Samples that all equal the
// truth have no ratio, which is an error.
func Exchangeability(between, first, second []float64, resamples int, seed uint64) (ratio, lo, hi float64, err error) {
	n := len(between)
	if len(first) != n || len(second) != n {
		return 0, 0, 0, fmt.Errorf("exchangeability: %d, %d and %d distances, want one of each per image", n, len(first), len(second))
	}
	for i := range n {
		for _, d := range []float64{between[i], first[i], second[i]} {
			if d < 0 || d-d != 0 {
				return 0, 0, 0, fmt.Errorf("exchangeability: image %d has distance %v, want finite values ≥ 0", i, d)
			}
		}
		if between[i] > 0 && first[i]+second[i] == 0 {
			return 0, 0, 0, fmt.Errorf("exchangeability: image %d: both samples equal the truth but not each other: this is no distance", i)
		}
	}
	of := func(image func() int) float64 {
		var above, below float64
		for range n {
			i := image()
			above += between[i]
			below += (first[i] + second[i]) / 2
		}
		if below == 0 { // a resample of exact restorations only: nothing to be over-confident of
			return 1
		}
		return above / below
	}
	total := 0.0
	for i := range n {
		total += first[i] + second[i]
	}
	if n > 0 && total == 0 {
		return 0, 0, 0, errors.New("exchangeability: all samples equal the truth, so that there is no ratio")
	}
	if lo, hi, err = bootstrap(n, resamples, seed, of); err != nil {
		return 0, 0, 0, fmt.Errorf("exchangeability: %w", err)
	}
	next := -1
	return of(func() int { next++; return next }), lo, hi, nil
}

// ExchangeabilityOf is [Exchangeability] of images in a distance: x and x2 are two
// independent samples for the same measurements of truth, all [N,C,H,W] on [0, 1].
func ExchangeabilityOf(d Distance, x, x2, truth []float32, n, c, h, w, resamples int, seed uint64) (ratio, lo, hi float64, err error) {
	var all [3][]float64
	for i, pair := range [3][2][]float32{{x, x2}, {x, truth}, {x2, truth}} {
		if all[i], err = d(pair[0], pair[1], n, c, h, w); err != nil {
			return 0, 0, 0, err
		}
	}
	return Exchangeability(all[0], all[1], all[2], resamples, seed)
}
