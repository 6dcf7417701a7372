package metric

import (
	"fmt"
	"math"
)

// SSIM's constants (Wang, Bovik, Sheikh & Simoncelli 2004) for data range 1.
const (
	ssimWindow = 11
	ssimSigma  = 1.5
	ssimC1     = .01 * .01
	ssimC2     = .03 * .03
)

// ssimTaps is the Gaussian window of one dimension, with sum 1; the window of two
// dimensions is its outer product.
var ssimTaps = func() (taps [ssimWindow]float64) {
	sum := 0.0
	for i := range taps {
		d := float64(i - ssimWindow/2)
		taps[i] = math.Exp(-d * d / (2 * ssimSigma * ssimSigma))
		sum += taps[i]
	}
	for i := range taps {
		taps[i] /= sum
	}
	return taps
}()

// SSIM returns the structural similarity of each image of x to y, both [N,C,H,W] on
// [0, 1] (Wang et al. 2004, eq. 13): Gaussian window 11×11 with σ 1.5, K₁ 0.01, K₂
// 0.03, data range 1, over the positions where the window lies within the image,
// mean over positions and channels. It is 1 for identical images and can be
// negative.
//
// As in piq without its optional step, large images are not down-sampled first:
// values compare with others only where those were computed at full size too.
// Images smaller than the window are an error.
func SSIM[F Float](x, y []F, n, c, h, w int) ([]float64, error) {
	size, err := batch("SSIM", x, y, n, c, h, w)
	if err != nil {
		return nil, err
	}
	if h < ssimWindow || w < ssimWindow {
		return nil, fmt.Errorf("SSIM: images of %d×%d (H×W), want at least %d×%d for its window", h, w, ssimWindow, ssimWindow)
	}
	out := make([]float64, n)
	rows := newMoments(h, w)
	for i := range out {
		for k := i * size; k < (i+1)*size; k += h * w {
			out[i] += ssimPlane(rows, x[k:k+h*w], y[k:k+h*w], h, w) / float64(c)
		}
	}
	return out, nil
}

// moments holds x, y, x², y² and xy of one plane after filtering along rows, h
// rows of w−10.
type moments [5][]float64

func newMoments(h, w int) (m moments) {
	for i := range m {
		m[i] = make([]float64, h*(w-ssimWindow+1))
	}
	return m
}

// ssimPlane returns the mean SSIM of one channel.
func ssimPlane[F Float](rows moments, x, y []F, h, w int) float64 {
	vw, vh := w-ssimWindow+1, h-ssimWindow+1 // the valid region
	for r := range h {
		xr, yr := x[r*w:(r+1)*w], y[r*w:(r+1)*w]
		for j := range vw {
			var mx, my, xx, yy, xy float64
			for k, g := range ssimTaps {
				a, b := float64(xr[j+k]), float64(yr[j+k])
				ga, gb := g*a, g*b
				mx += ga
				my += gb
				xx += ga * a
				yy += gb * b
				xy += ga * b
			}
			at := r*vw + j
			rows[0][at], rows[1][at], rows[2][at], rows[3][at], rows[4][at] = mx, my, xx, yy, xy
		}
	}
	column := func(m []float64, at int) (s float64) {
		for k, g := range ssimTaps {
			s += g * m[at+k*vw]
		}
		return s
	}
	sum := 0.0
	for at := range vh * vw {
		mx, my := column(rows[0], at), column(rows[1], at)
		varX, varY := column(rows[2], at)-mx*mx, column(rows[3], at)-my*my
		cov := column(rows[4], at) - mx*my
		sum += (2*mx*my + ssimC1) / (mx*mx + my*my + ssimC1) * (2*cov + ssimC2) / (varX + varY + ssimC2)
	}
	return sum / float64(vh*vw)
}
