package metric

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/internal/parallel"
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
	for i := range out {
		for k := i * size; k < (i+1)*size; k += h * w {
			out[i] += ssimPlane(x[k:k+h*w], y[k:k+h*w], h, w) / float64(c)
		}
	}
	return out, nil
}

// ssimStrip is how many rows of windows one goroutine takes at a time. The sums of strips
// are added in their order, so that the result does not depend on the number of processors.
const ssimStrip = 128

// ssimPlane returns the mean SSIM of one channel.
func ssimPlane[F Float](x, y []F, h, w int) float64 {
	vh, vw := h-ssimWindow+1, w-ssimWindow+1 // the valid region
	sums := make([]float64, (vh+ssimStrip-1)/ssimStrip)
	parallel.For(len(sums), func(k int) {
		sums[k] = ssimRows(x, y, w, k*ssimStrip, min((k+1)*ssimStrip, vh))
	})
	sum := 0.0
	for _, s := range sums {
		sum += s
	}
	return sum / float64(vh*vw)
}

// ssimRows returns the sum of SSIM over the windows that begin in the rows from first to
// last. The window is applied along rows, then along columns to the last 11 of those.
func ssimRows[F Float](x, y []F, w, first, last int) (sum float64) {
	const moments = 4 // x, y, x² + y², xy
	vw := w - ssimWindow + 1
	var line, mean [moments][]float64
	var filtered [moments][ssimWindow][]float64 // a ring of rows
	for m := range moments {
		line[m], mean[m] = make([]float64, w), make([]float64, vw)
		for k := range ssimWindow {
			filtered[m][k] = make([]float64, vw)
		}
	}
	for r := first; r < last+ssimWindow-1; r++ {
		for j, v := range x[r*w : (r+1)*w] {
			a, b := float64(v), float64(y[r*w+j])
			line[0][j], line[1][j], line[2][j], line[3][j] = a, b, a*a+b*b, a*b
		}
		for m := range moments {
			var shifted, ring [ssimWindow][]float64
			for k := range ssimWindow {
				shifted[k] = line[m][k : k+vw]
				ring[k] = filtered[m][(r+1+k)%ssimWindow] // the oldest first
			}
			window(ring[ssimWindow-1], &shifted)
			if r >= first+ssimWindow-1 {
				window(mean[m], &ring)
			}
		}
		if r < first+ssimWindow-1 {
			continue
		}
		for j, mx := range mean[0] {
			my, squares, xy := mean[1][j], mean[2][j], mean[3][j]
			sum += (2*mx*my + ssimC1) / (mx*mx + my*my + ssimC1) *
				(2*(xy-mx*my) + ssimC2) / (squares - (mx*mx + my*my) + ssimC2)
		}
	}
	return sum
}

// window sets dst to the sum of the rows, weighted by the taps, which are symmetric.
func window(dst []float64, rows *[ssimWindow][]float64) {
	n := len(dst)
	r0, r1, r2, r3, r4, r5 := rows[0][:n], rows[1][:n], rows[2][:n], rows[3][:n], rows[4][:n], rows[5][:n]
	r6, r7, r8, r9, r10 := rows[6][:n], rows[7][:n], rows[8][:n], rows[9][:n], rows[10][:n]
	g0, g1, g2, g3, g4, g5 := ssimTaps[0], ssimTaps[1], ssimTaps[2], ssimTaps[3], ssimTaps[4], ssimTaps[5]
	for j := range dst {
		dst[j] = g0*(r0[j]+r10[j]) + g1*(r1[j]+r9[j]) + g2*(r2[j]+r8[j]) + g3*(r3[j]+r7[j]) + g4*(r4[j]+r6[j]) + g5*r5[j]
	}
}
