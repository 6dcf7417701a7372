package cpu

import "math"

var generic = &kernels{
	name: "generic",
	tile: tileGo, sum: sumGo, cdot: cdotGo, sums: sumsGo, dots: dotsGo, mul: mulGo, fma: fmaGo, exp: expGo, panel: panelGo, up2: up2Go, down2: down2Go,
	affine: affineGo, silu: siluGo, linear: linearGo, tangent: tangentGo, second: secondGo, jet: jetGo,
	softmax: softmaxGo, centre: centreGo,
	winograd: [len(schemes)]transforms{{tileIn4Go, tileOut4Go}, {tileIn2Go, tileOut2Go}},
}

func tileGo(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, nv int, acc bool) {
	for r := 0; r < 8; r += 4 {
		for j := 0; j < 16*nv; j += 2 {
			quad(c[r*ldc+j:], ldc, a[r:], b[j:], outer, bStride, offs, acc)
		}
	}
}

// quad is 4 rows × 2 columns of tile, which scalar registers hold.
func quad(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, acc bool) {
	var c00, c01, c10, c11, c20, c21, c30, c31 float32
	at := 0
	for i := range outer {
		row := b[i*bStride:]
		for _, o := range offs {
			v, w := row[o:o+2:o+2], a[at:at+4:at+4]
			at += 8
			b0, b1 := v[0], v[1]
			c00 += w[0] * b0
			c01 += w[0] * b1
			c10 += w[1] * b0
			c11 += w[1] * b1
			c20 += w[2] * b0
			c21 += w[2] * b1
			c30 += w[3] * b0
			c31 += w[3] * b1
		}
	}
	for r, v := range [4][2]float32{{c00, c01}, {c10, c11}, {c20, c21}, {c30, c31}} {
		to := c[r*ldc : r*ldc+2]
		if acc {
			v[0] += to[0]
			v[1] += to[1]
		}
		to[0], to[1] = v[0], v[1]
	}
}

func sumGo(x []float32) float32 {
	var s [4]float32
	for len(x) >= 4 {
		for i := range s {
			s[i] += x[i]
		}
		x = x[4:]
	}
	for _, v := range x {
		s[0] += v
	}
	return (s[0] + s[2]) + (s[1] + s[3])
}

func cdotGo(x, y []float32, mx, my float32) float32 {
	var s [4]float32
	y = y[:len(x)]
	for len(x) >= 4 {
		for i := range s {
			s[i] += (x[i] - mx) * (y[i] - my)
		}
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		s[0] += (v - mx) * (y[i] - my)
	}
	return (s[0] + s[2]) + (s[1] + s[3])
}

func sumsGo(s *[3]float32, a, b []float32) { s[0], s[1] = sumGo(a), sumGo(b) }

func dotsGo(s *[3]float32, x, a, b []float32, k *[3]float32) {
	s[0], s[1], s[2] = cdotGo(x, a, k[0], k[1]), cdotGo(x, b, k[0], k[2]), cdotGo(a, a, k[1], k[1])
}

func mulGo(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func fmaGo(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] += a[i] * b[i]
	}
}

func expGo(dst, x []float32, scale, shift float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = exp32(scale*v + shift)
	}
}

func up2Go(dst, src []float32, scale float32) {
	for x, v := range src {
		v *= scale
		pair := dst[2*x : 2*x+2 : 2*x+2]
		pair[0], pair[1] = v, v
	}
}

func down2Go(dst, top, bottom []float32, scale float32) {
	for x := range dst {
		t, b := top[2*x:2*x+2:2*x+2], bottom[2*x:2*x+2:2*x+2]
		dst[x] = scale * ((t[0] + b[0]) + (t[1] + b[1]))
	}
}

func panelGo(dst, a, x []float32) {
	var s [8]float32
	for _, v := range x {
		w := a[:8:8]
		for r := range s {
			s[r] += w[r] * v
		}
		a = a[8:]
	}
	copy(dst[:8], s[:])
}

// The range of exp32: 2^n stays a normal number.
const (
	expLow  = -87.33654
	expHigh = 88.37626
)

// exp32 is exp to about one unit in the last place, saturating instead of
// overflowing: x = n·ln 2 + r, the polynomial of Cephes expf for e^r.
func exp32(x float32) float32 {
	const magic = 3 << 22 // adding it rounds to an integer
	if x > expHigh {
		x = expHigh
	}
	if x < expLow {
		x = expLow
	}
	n := float32(x*math.Log2E+magic) - magic
	r := x - n*0.693359375 + n*2.12194440e-4
	p := float32(1.9875691500e-4)
	p = p*r + 1.3981999507e-3
	p = p*r + 8.3334519073e-3
	p = p*r + 4.1665795894e-2
	p = p*r + 1.6666665459e-1
	p = p*r + 5.0000001201e-1
	p = p*r*r + r + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}

// sigmoid is 1/(1 + e^−z).
func sigmoid(z float32) float32 { return 1 / (1 + exp32(-z)) }

func affineGo(dst, x []float32, k *act) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = k.m*(v-k.mu) + k.c
	}
}

func siluGo(dst, x []float32, k *act) {
	x = x[:len(dst)]
	for i, v := range x {
		z := k.m*(v-k.mu) + k.c
		dst[i] = z * sigmoid(z)
	}
}

func linearGo(dst, x, a []float32, k *act, acc bool) {
	x, a = x[:len(dst)], a[:len(dst)]
	mu, p, q, s := k.mu, k.p, k.q, k.s
	if acc {
		for i, v := range x {
			dst[i] += p*a[i] + (q*(v-mu) + s)
		}
		return
	}
	for i, v := range x {
		dst[i] = p*a[i] + (q*(v-mu) + s)
	}
}

func tangentGo(dst, x, a []float32, k *act, acc bool) {
	x, a = x[:len(dst)], a[:len(dst)]
	for i, v := range x {
		c := v - k.mu
		z := k.m*c + k.c
		g := sigmoid(z)
		t := (g + z*(g*(1-g))) * (k.p*a[i] + (k.q*c + k.s))
		if acc {
			t += dst[i]
		}
		dst[i] = t
	}
}

func secondGo(dst, x, a, b, ab []float32, k *act) {
	x, a, b, ab = x[:len(dst)], a[:len(dst)], b[:len(dst)], ab[:len(dst)]
	for i, v := range x {
		c := v - k.mu
		z := k.m*c + k.c
		g := sigmoid(z)
		h := g * (1 - g)
		za := k.p*a[i] + (k.q*c + k.s)
		zb := k.pb*b[i] + (k.qb*c + k.sb)
		zab := k.w*ab[i] + (k.wa*a[i] + (k.wb*b[i] + (k.wc*c + k.shift)))
		dst[i] = h*(2+z*(1-2*g))*(za*zb) + (g+z*h)*zab
	}
}

func jetGo(first, dst, x, a, ab []float32, k *act) {
	tangentGo(first, x, a, k, false)
	secondGo(dst, x, a, a, ab, k)
}

func softmaxGo(s, tops, sums []float32, rows, ld int) {
	for j := range ld {
		top := s[j]
		for r := 1; r < rows; r++ {
			top = max(top, s[r*ld+j])
		}
		var sum float32
		for r := range rows {
			e := exp32(s[r*ld+j] - top)
			s[r*ld+j] = e
			sum += e
		}
		inv := 1 / sum
		for r := range rows {
			s[r*ld+j] *= inv
		}
		tops[j], sums[j] = top, sum
	}
}

func centreGo(s, p, mean []float32, rows, ld int) {
	for j := range ld {
		var sum float32
		for r := range rows {
			sum += p[r*ld+j] * s[r*ld+j]
		}
		mean[j] = sum
		for r := range rows {
			s[r*ld+j] -= sum
		}
	}
}
