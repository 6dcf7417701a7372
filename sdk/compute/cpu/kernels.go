package cpu

// kernels is one set of inner loops. Every set computes the same, up to
// rounding; the Go functions in generic.go define what.
type kernels struct {
	name string

	// tile computes 8 rows × 16·nv columns (nv ≤ 3) of a matrix product:
	//   C[r][j] = Σ_i Σ_o A[i][o][r] · B[i·bStride + offs[o] + j]
	// with A of 8 rows interleaved, plus the old C where acc.
	tile func(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, nv int, acc bool)

	sum  func(x []float32) float32                    // Σ x
	cdot func(x, y []float32, mx, my float32) float32 // Σ (x − mx)(y − my)
	// sums is Σ a and Σ b; dots is Σ c·a, Σ c·b and Σ a² of the centred x − k[0] = c,
	// a − k[1] and b − k[2].
	sums func(s *[3]float32, a, b []float32)
	dots func(s *[3]float32, x, a, b []float32, k *[3]float32)
	mul  func(dst, a, b []float32)                    // a·b
	fma  func(dst, a, b []float32)                    // dst + a·b
	exp  func(dst, x []float32, scale, shift float32) // exp(scale·x + shift), saturating
	// panel is 8 rows of A, interleaved, times a vector: dst[r] = Σ_i A[i][r]·x[i].
	panel func(dst, a, x []float32)

	// up2 doubles values, dst[2x] = dst[2x + 1] = scale·src[x]; down2 is the sum over
	// 2×2 cells of two rows, times scale.
	up2   func(dst, src []float32, scale float32)
	down2 func(dst, top, bottom []float32, scale float32)

	// The fused passes over one channel, with the coefficients of act.
	affine  func(dst, x []float32, k *act)              // z
	silu    func(dst, x []float32, k *act)              // z·σ(z)
	linear  func(dst, x, a []float32, k *act, acc bool) // z_a, added to dst where acc
	tangent func(dst, x, a []float32, k *act, acc bool) // silu′(z)·z_a, added to dst where acc
	second  func(dst, x, a, b, ab []float32, k *act)    // silu″(z)·z_a·z_b + silu′(z)·z_ab
	// jet is tangent into first and second into dst, with b = a: pb, qb and sb are p, q
	// and s.
	jet func(first, dst, x, a, ab []float32, k *act)

	// softmax normalises each column of s [rows][ld] (ld a multiple of 16) to
	// exp(s)/Σ exp(s) and stores the column's maximum top and sum = Σ exp(s − top).
	softmax func(s, top, sum []float32, rows, ld int)
	// centre subtracts from each column of s its mean Σ p·s, and stores the mean.
	centre func(s, p, mean []float32, rows, ld int)

	winograd [len(schemes)]transforms
}

// transforms are Winograd's of tiles of size + 2 pixels square, see winograd.go,
// in groups of 16 tiles: four runs of four tiles side by side. The tiles' order
// among 16 is the kernels' own.
type transforms struct {
	// in is Bᵀ d B of groups whose runs start at each at − skip of x, rows pitch
	// apart; v holds the tiles' values at the points, stride apart.
	in func(v []float32, stride int, x []float32, pitch int, at []int, skip int, tmp []float32)
	// out is Aᵀ m A + bias (+ add) in runs from each at of y, rows width apart.
	// add may be y or nil.
	out func(y []float32, width int, at []int, m []float32, stride int, tmp []float32, bias float32, add []float32)
}

// act holds the coefficients of an affine map of the centred input c = x − mu and
// of its directional derivatives. The assembly reads it by position.
type act struct {
	mu                   float32
	m, c                 float32 // z = m·c + c₀
	p, q, s              float32 // z_a = p·a + q·c + s
	pb, qb, sb           float32 // z_b = pb·b + qb·c + sb
	w, wa, wb, wc, shift float32 // z_ab = w·ab + wa·a + wb·b + wc·c + shift
}

// plain is the identity's coefficients: z = x, z_a = a, z_b = b, z_ab = ab.
var plain = act{m: 1, p: 1, pb: 1, w: 1}

// one is the single offset of a plain matrix product.
var one = []int{0}

// gemm computes C[m][cols] = A·B for A packed in panels of 8 rows, B [k][ldb] and cols a
// multiple of 16, plus the old C where acc. C has m rounded up to 8 rows.
func (k *kernels) gemm(c []float32, ldc int, a []float32, m int, b []float32, ldb, inner, cols int, acc bool) {
	for r := 0; r < m; r += 8 {
		panel := a[r*inner : (r+8)*inner]
		for j := 0; j < cols; {
			nv := vectors(cols - j)
			k.tile(c[r*ldc+j:], ldc, panel, b[j:], inner, ldb, one, nv, acc)
			j += 16 * nv
		}
	}
}

// vectors returns the width of the next tile where so many columns are left: narrow
// tiles are slow, so that 4 vectors are 2 + 2.
func vectors(columns int) int {
	if columns > 48 && columns <= 64 {
		return 2
	}
	return min(3, ceil(columns, 16))
}

// total returns Σ x in float64 over pieces short enough for float32.
func (k *kernels) total(x []float32) (s float64) {
	for len(x) > 1024 {
		s += float64(k.sum(x[:1024]))
		x = x[1024:]
	}
	return s + float64(k.sum(x))
}

// covariance returns Σ (x − mx)(y − my), summed like total.
func (k *kernels) covariance(x, y []float32, mx, my float32) (s float64) {
	for len(x) > 1024 {
		s += float64(k.cdot(x[:1024], y[:1024], mx, my))
		x, y = x[1024:], y[1024:]
	}
	return s + float64(k.cdot(x, y, mx, my))
}

// totals returns the sums of a and of b, each summed like total.
func (k *kernels) totals(w *worker, a, b []float32) (s [3]float64) {
	for len(a) > 0 {
		n := min(1024, len(a))
		k.sums(&w.sums, a[:n], b[:n])
		s[0] += float64(w.sums[0])
		s[1] += float64(w.sums[1])
		a, b = a[n:], b[n:]
	}
	return s
}

// covariances is dots, summed like total.
func (k *kernels) covariances(w *worker, x, a, b []float32, mx, ma, mb float32) (s [3]float64) {
	w.means = [3]float32{mx, ma, mb}
	for len(a) > 0 {
		n := min(1024, len(a))
		k.dots(&w.sums, x[:n], a[:n], b[:n], &w.means)
		for i, v := range w.sums {
			s[i] += float64(v)
		}
		x, a, b = x[n:], a[n:], b[n:]
	}
	return s
}

// packRows interleaves rows for tile: dst[m/8][inner][8] = src[row][inner], zero
// beyond m.
func packRows(dst, src []float32, m, inner, rowStride int) {
	for r := 0; r < m; r += 8 {
		panel := dst[r*inner : (r+8)*inner]
		if m-r < 8 {
			clear(panel)
			for i := range m - r {
				for k, v := range src[(r+i)*rowStride:][:inner] {
					panel[k*8+i] = v
				}
			}
			continue
		}
		row := func(i int) []float32 { return src[(r+i)*rowStride:][:inner:inner] }
		r0, r1, r2, r3, r4, r5, r6, r7 := row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)
		for k, v := range r0 {
			p := panel[k*8 : k*8+8 : k*8+8]
			p[0], p[1], p[2], p[3] = v, r1[k], r2[k], r3[k]
			p[4], p[5], p[6], p[7] = r4[k], r5[k], r6[k], r7[k]
		}
	}
}

// packColumns is packRows of the transpose of src [inner][m], times scale.
func packColumns(dst, src []float32, m, inner int, scale float32) {
	for r := 0; r < m; r += 8 {
		panel := dst[r*inner : (r+8)*inner]
		n := min(8, m-r)
		if n == 8 {
			for k := range inner {
				p, v := (*[8]float32)(panel[k*8:]), (*[8]float32)(src[k*m+r:])
				p[0], p[1], p[2], p[3] = scale*v[0], scale*v[1], scale*v[2], scale*v[3]
				p[4], p[5], p[6], p[7] = scale*v[4], scale*v[5], scale*v[6], scale*v[7]
			}
			continue
		}
		for k := range inner {
			p := panel[k*8 : k*8+8 : k*8+8]
			for i, v := range src[k*m+r:][:n] {
				p[i] = scale * v
			}
			clear(p[n:])
		}
	}
}

// pad copies rows of so many values to a wider pitch, zero filled.
func pad(dst, src []float32, rows, width, pitch int) {
	if width == pitch {
		copy(dst, src[:rows*width])
		return
	}
	for r := range rows {
		to := dst[r*pitch : (r+1)*pitch]
		copy(to, src[r*width:(r+1)*width])
		clear(to[width:])
	}
}
