package picture

import "image"

// fullRange returns the picture of a lossy WebP file, whose luma is 16 to 235 (BT.601) and
// which the decoder hands out as if it were 0 to 255. Chroma is interpolated as in libwebp.
func fullRange(src image.Image) image.Image {
	var alpha *image.NYCbCrA
	var y *image.YCbCr
	switch m := src.(type) {
	case *image.YCbCr:
		y = m
	case *image.NYCbCrA:
		y, alpha = &m.YCbCr, m
	default:
		return src // lossless
	}
	b := y.Bounds()
	out := image.NewNRGBA(b)
	for py := b.Min.Y; py < b.Max.Y; py++ {
		for px := b.Min.X; px < b.Max.X; px++ {
			luma := 1.164383 * (float64(y.Y[y.YOffset(px, py)]) - 16)
			u, v := chroma(y, y.Cb, px, py)-128, chroma(y, y.Cr, px, py)-128
			at := out.PixOffset(px, py)
			out.Pix[at] = level8(luma + 1.596027*v)
			out.Pix[at+1] = level8(luma - 0.391762*u - 0.812968*v)
			out.Pix[at+2] = level8(luma + 2.017232*u)
			out.Pix[at+3] = 255
			if alpha != nil {
				out.Pix[at+3] = alpha.A[alpha.AOffset(px, py)]
			}
		}
	}
	return out
}

// chroma interpolates a plane of half the size at a pixel: 9, 3, 3 and 1 sixteenths of the
// nearest values.
func chroma(m *image.YCbCr, plane []byte, px, py int) float64 {
	b := m.Bounds()
	beside := func(p, low, high int) int { return min(max(p+2*(p&1)-1, low), high-1) }
	nx, ny := beside(px, b.Min.X, b.Max.X), beside(py, b.Min.Y, b.Max.Y)
	at := func(x, y int) float64 { return float64(plane[m.COffset(x, y)]) }
	return (9*at(px, py) + 3*at(nx, py) + 3*at(px, ny) + at(nx, ny)) / 16
}

// level8 rounds and clamps to a byte.
func level8(v float64) byte { return byte(min(max(v+0.5, 0), 255)) }
