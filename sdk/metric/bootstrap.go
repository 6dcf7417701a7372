package metric

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// FewestImages is the least number of images on which a 95 % interval of a difference
// says anything: all of n differences have one sign by chance in one of 2^(n−1) cases,
// which is below 5 % from 6.
const FewestImages = 6

// PairedBootstrap compares two methods on the same images: a and b hold one value
// of a metric per image, in the same order, from the same measurements and seeds.
// It returns the mean of a−b and the 95 % percentile bootstrap interval of that
// mean (Efron & Tibshirani 1993, ch. 13), images being resampled. Positive means
// that a is larger; an interval that holds 0 means that the difference may be
// chance. 10 000 resamples fix the interval's ends to about 1 % of its width.
//
// The same seed gives the same interval. One pair has no interval: its ends are NaN.
// An interval of fewer than [FewestImages] can leave 0 out by chance alone. An infinite value (PSNR of identical images) is an error.
func PairedBootstrap(a, b []float64, resamples int, seed uint64) (mean, lo, hi float64, err error) {
	if len(a) != len(b) {
		return 0, 0, 0, fmt.Errorf("paired bootstrap: %d and %d values, want one of each per image", len(a), len(b))
	}
	diff := make([]float64, len(a))
	for i := range a {
		diff[i] = a[i] - b[i]
		if math.IsNaN(diff[i]) || math.IsInf(diff[i], 0) {
			return 0, 0, 0, fmt.Errorf("paired bootstrap: image %d has %v and %v, want finite values", i, a[i], b[i])
		}
	}
	lo, hi, err = bootstrap(len(diff), resamples, seed, func(image func() int) float64 {
		sum := 0.0
		for range diff {
			sum += diff[image()]
		}
		return sum / float64(len(diff))
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("paired bootstrap: %w", err)
	}
	return stat.Mean(diff, nil), lo, hi, nil
}

// bootstrap returns the 95 % percentile interval of a statistic of n images. statistic
// computes it on a resample, of which it draws n images with image. One image has no
// interval: all its resamples are alike.
func bootstrap(n, resamples int, seed uint64, statistic func(image func() int) float64) (lo, hi float64, err error) {
	if n == 0 {
		return 0, 0, errors.New("no values")
	}
	if resamples < 1 {
		return 0, 0, fmt.Errorf("%d resamples, want at least 1 (10000 is usual)", resamples)
	}
	if n == 1 {
		return math.NaN(), math.NaN(), nil
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	all := make([]float64, resamples)
	for r := range all {
		all[r] = statistic(func() int { return rng.IntN(n) })
	}
	slices.Sort(all)
	return stat.Quantile(.025, stat.LinInterp, all, nil), stat.Quantile(.975, stat.LinInterp, all, nil), nil
}
