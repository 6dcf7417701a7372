package cpu

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Separable implements [compute.Linear].
func (d *Device) Separable(dst, src, l, r compute.Tensor, accumulate bool) {
	if !d.SeparableFits(dst, src, l, r) {
		return
	}
	h, w := src.H, src.W
	w16, out16, rows := ceil(w, 16)*16, ceil(dst.W, 16)*16, ceil(dst.H, 8)*8
	stage := d.staged(rows*h + w*out16)
	left, right := stage[:rows*h], stage[rows*h:]
	packRows(left, image(l, 0), dst.H, h, h)
	rm := image(r, 0)
	for i := range w {
		row := right[i*out16 : (i+1)*out16]
		clear(row)
		for j := range dst.W {
			row[j] = rm[j*w+i]
		}
	}
	d.parallel(dst.N*dst.C, func(_ *Device, wk *worker, i int) {
		n, c := i/dst.C, i%dst.C
		s := wk.floats(h*w16 + rows*w16 + rows*w + rows*out16)
		in, s := s[:h*w16], s[h*w16:]
		tmp, s := s[:rows*w16], s[rows*w16:]
		packed, out := s[:rows*w], s[rows*w:]
		pad(in, image(src, n)[c*h*w:], h, w, w16)
		d.k.gemm(tmp, w16, left, dst.H, in, w16, h, w16, false)
		packRows(packed, tmp, dst.H, w, w16)
		d.k.gemm(out, out16, packed, dst.H, right, out16, w, out16, false)
		to := image(dst, n)[c*dst.H*dst.W:]
		for y := range dst.H {
			row := to[y*dst.W : (y+1)*dst.W]
			if !accumulate {
				clear(row)
			}
			for x := range row {
				row[x] += out[y*out16+x]
			}
		}
	})
}

// extend returns the index that the border puts at i, for i not further outside than
// the image is large.
func extend(i, size int, border compute.Border) int {
	switch {
	case i >= 0 && i < size:
		return i
	case border == compute.Circular:
		return ((i % size) + size) % size
	case i < 0:
		return -i
	default:
		return 2*(size-1) - i
	}
}

// Correlate implements [compute.Linear]. The kernel's rows, shifted by 0 … 7,
// are the 8 rows of a tile: C[r][x] = Σ_m Σ_j K[m − r][j] · image[y + m][x + j].
// The adjoint correlates the zero-extended image with the reversed kernel over
// the extended domain, and folds the border back.
func (d *Device) Correlate(dst, src, kernel compute.Tensor, border compute.Border, adjoint bool) {
	if !d.CorrelateFits(dst, src, kernel, border) {
		return
	}
	kh, kw, h, w := kernel.H, kernel.W, src.H, src.W
	outH, outW := h, w
	if adjoint {
		outH, outW = h+kh-1, w+kw-1
	}
	out8, out16 := ceil(outH, 8)*8, ceil(outW, 16)*16
	pitch := out16 + kw - 1
	rows := out8 + kh - 1
	taps := make([]int, kw)
	for j := range taps {
		taps[j] = j
	}
	panel := shiftedRows(image(kernel, 0), kh, kw, adjoint)
	d.parallel(dst.N*dst.C, func(_ *Device, wk *worker, i int) {
		n, c := i/dst.C, i%dst.C
		from, to := image(src, n)[c*h*w:][:h*w], image(dst, n)[c*h*w:][:h*w]
		s := wk.floats(rows*pitch + out8*out16)
		wide, out := s[:rows*pitch], s[rows*pitch:]
		clear(wide)
		if adjoint {
			for y := range h {
				copy(wide[(y+kh-1)*pitch+kw-1:], from[y*w:(y+1)*w])
			}
		} else {
			for y := range h + kh - 1 {
				row := from[extend(y-kh/2, h, border)*w:]
				for x := range w + kw - 1 {
					wide[y*pitch+x] = row[extend(x-kw/2, w, border)]
				}
			}
		}
		for y := 0; y < out8; y += 8 {
			for x := 0; x < out16; {
				nv := vectors(out16 - x)
				d.k.correlate(out[y*out16+x:], out16, panel, wide[y*pitch+x:], pitch, taps, kh+7, nv)
				x += 16 * nv
			}
		}
		if !adjoint {
			for y := range h {
				copy(to[y*w:(y+1)*w], out[y*out16:])
			}
			return
		}
		clear(to)
		for y := range outH {
			row := to[extend(y-kh/2, h, border)*w:]
			for x := range outW {
				row[extend(x-kw/2, w, border)] += out[y*out16+x]
			}
		}
	})
}

// correlate is tile in steps of few kernel rows: long float32 sums would lose
// digits.
func (k *kernels) correlate(c []float32, ldc int, panel, b []float32, pitch int, taps []int, rows, nv int) {
	const step = 8
	for m := 0; m < rows; m += step {
		k.tile(c, ldc, panel[m*len(taps)*8:], b[m*pitch:], min(step, rows-m), pitch, taps, nv, m > 0)
	}
}

// shiftedRows is A[m][j][r] = K[m − r][j], zero outside the kernel, which is
// reversed for the adjoint.
func shiftedRows(kernel []float32, kh, kw int, reverse bool) []float32 {
	panel := make([]float32, (kh+7)*kw*8)
	for i, v := range kernel {
		if reverse {
			i = len(kernel) - 1 - i
		}
		for r := range 8 {
			panel[((i/kw+r)*kw+i%kw)*8+r] = v
		}
	}
	return panel
}
