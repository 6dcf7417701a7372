// Package metric measures how close restored images are to the truth. Learned
// distances stand in its sub-packages: lpips (of pairs) and fid (of sets).
//
// Images are host slices in NCHW order on [0, 1]; every metric takes a batch and
// returns one value per image. Nothing is normalised per image and nothing is
// clamped: [Unit] brings the solver's [−1, 1] to [0, 1] first.
package metric

import (
	"fmt"
	"math"
)

// Float is the precision of the images; sums are float64 in either case.
type Float interface{ ~float32 | ~float64 }

// Unit maps values from [−1, 1] to [0, 1] in a new slice. What lies outside is
// clamped, as it is when a picture is written; NaN stays NaN.
func Unit[F Float](x []F) []F {
	out := make([]F, len(x))
	for i, v := range x {
		out[i] = min(max((v+1)/2, 0), 1)
	}
	return out
}

// batch checks a pair of batches of n images and returns the length of one.
func batch[F Float](what string, x, y []F, n, c, h, w int) (int, error) {
	if n < 1 || c < 1 || h < 1 || w < 1 {
		return 0, fmt.Errorf("%s: shape %d×%d×%d×%d, want positive sizes N×C×H×W", what, n, c, h, w)
	}
	size := c * h * w
	if len(x) != n*size || len(y) != n*size {
		return 0, fmt.Errorf("%s: %d and %d values, want %d each (%d×%d×%d×%d)", what, len(x), len(y), n*size, n, c, h, w)
	}
	for i := range x {
		// An infinity minus itself is NaN, and so is a NaN.
		if d := x[i]*0 + y[i]*0; d != d {
			return 0, fmt.Errorf("%s: image %d of %d holds a value that is not finite (%v, %v)", what, i/size, n, x[i], y[i])
		}
	}
	return size, nil
}

// PSNR returns the peak signal-to-noise ratio in dB of each image of x against y, both
// [N,C,H,W] on [0, 1]: 10 log₁₀(1/MSE), the mean squared error taken over C, H, W.
//
// Identical images have PSNR +Inf. Print it as "∞", and note that JSON cannot
// hold it and that a mean over images which include it is infinite too.
func PSNR[F Float](x, y []F, n, c, h, w int) ([]float64, error) {
	size, err := batch("PSNR", x, y, n, c, h, w)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = 10 * math.Log10(1/squaredError(x[i*size:(i+1)*size], y[i*size:(i+1)*size]))
	}
	return out, nil
}
