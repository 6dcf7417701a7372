package cpu

import "golang.org/x/sys/cpu"

//go:generate go run -C ../../../tools/cpuasm . -pkg cpu -out ../../sdk/compute/cpu/vector_amd64.s -stubs ../../sdk/compute/cpu/vector_amd64.go

// available lists the kernels that this processor can run, the best first.
func available() (all []*kernels) {
	x := &cpu.X86
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasBMI2 && x.HasFMA {
		all = append(all, avx512)
	}
	if x.HasAVX2 && x.HasFMA {
		all = append(all, avx2)
	}
	return append(all, generic)
}

var avx512 = &kernels{
	name: "avx512",
	tile: tile512, sum: sum512, cdot: cdot512, mul: mul512, fma: fma512, exp: exp512, panel: panel512, up2: up2Vector, down2: down2Vector,
	sums:   func(s *[3]float32, a, b []float32) { sums512(&s[0], a, b) },
	dots:   func(s *[3]float32, x, a, b []float32, k *[3]float32) { dots512(&s[0], x, a, b, &k[0]) },
	affine: func(dst, x []float32, k *act) { affine512(dst, x, &k.mu) },
	silu:   func(dst, x []float32, k *act) { silu512(dst, x, &k.mu) },
	linear: func(dst, x, a []float32, k *act, acc bool) {
		if acc {
			linearAdd512(dst, x, a, &k.mu)
		} else {
			linear512(dst, x, a, &k.mu)
		}
	},
	tangent: func(dst, x, a []float32, k *act, acc bool) {
		if acc {
			tangentAdd512(dst, x, a, &k.mu)
		} else {
			tangent512(dst, x, a, &k.mu)
		}
	},
	second:  func(dst, x, a, b, ab []float32, k *act) { second512(dst, x, a, b, ab, &k.mu) },
	jet:     func(first, dst, x, a, ab []float32, k *act) { jet512(first, dst, x, a, ab, &k.mu) },
	softmax: func(s, top, sum []float32, rows, ld int) { softmax512(&s[0], &top[0], &sum[0], rows, ld) },
	centre:  func(s, p, mean []float32, rows, ld int) { centre512(&s[0], &p[0], &mean[0], rows, ld) },
	winograd: [len(schemes)]transforms{
		wrapTransforms(&schemes[0], 4, tileIn4x512, tileOut4x512, tileOut4xAdd512),
		wrapTransforms(&schemes[1], 4, tileIn2x512, tileOut2x512, tileOut2xAdd512),
	},
}

var avx2 = &kernels{
	name: "avx2",
	tile: tile256, sum: sum256, cdot: cdot256, mul: mul256, fma: fma256, exp: exp256, panel: panel256, up2: up2Vector, down2: down2Vector,
	sums:   func(s *[3]float32, a, b []float32) { sums256(&s[0], a, b) },
	dots:   func(s *[3]float32, x, a, b []float32, k *[3]float32) { dots256(&s[0], x, a, b, &k[0]) },
	affine: func(dst, x []float32, k *act) { affine256(dst, x, &k.mu) },
	silu:   func(dst, x []float32, k *act) { silu256(dst, x, &k.mu) },
	linear: func(dst, x, a []float32, k *act, acc bool) {
		if acc {
			linearAdd256(dst, x, a, &k.mu)
		} else {
			linear256(dst, x, a, &k.mu)
		}
	},
	tangent: func(dst, x, a []float32, k *act, acc bool) {
		if acc {
			tangentAdd256(dst, x, a, &k.mu)
		} else {
			tangent256(dst, x, a, &k.mu)
		}
	},
	second:  func(dst, x, a, b, ab []float32, k *act) { second256(dst, x, a, b, ab, &k.mu) },
	jet:     func(first, dst, x, a, ab []float32, k *act) { jet256(first, dst, x, a, ab, &k.mu) },
	softmax: func(s, top, sum []float32, rows, ld int) { softmax256(&s[0], &top[0], &sum[0], rows, ld) },
	centre:  func(s, p, mean []float32, rows, ld int) { centre256(&s[0], &p[0], &mean[0], rows, ld) },
	winograd: [len(schemes)]transforms{
		wrapTransforms(&schemes[0], 2, tileIn4x256, tileOut4x256, tileOut4xAdd256),
		wrapTransforms(&schemes[1], 2, tileIn2x256, tileOut2x256, tileOut2xAdd256),
	},
}

func tile512(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, nv int, acc bool) {
	inside(c, ldc, a, b, outer, bStride, offs, nv)
	switch nv {
	case 1:
		tile1x512(&c[0], ldc, &a[0], &b[0], outer, bStride, &offs[0], len(offs), acc)
	case 2:
		tile2x512(&c[0], ldc, &a[0], &b[0], outer, bStride, &offs[0], len(offs), acc)
	default:
		tile3x512(&c[0], ldc, &a[0], &b[0], outer, bStride, &offs[0], len(offs), acc)
	}
}

// tile256 covers the tile by quarters that 16 registers hold: 4 rows × 8, 16 or
// 24 columns.
func tile256(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, nv int, acc bool) {
	inside(c, ldc, a, b, outer, bStride, offs, nv)
	for r := 0; r < 8; r += 4 {
		switch c := c[r*ldc:]; nv {
		case 1:
			tile2x256(&c[0], ldc, &a[r], &b[0], outer, bStride, &offs[0], len(offs), acc)
		case 2:
			tile2x256(&c[0], ldc, &a[r], &b[0], outer, bStride, &offs[0], len(offs), acc)
			tile2x256(&c[16], ldc, &a[r], &b[16], outer, bStride, &offs[0], len(offs), acc)
		default:
			tile3x256(&c[0], ldc, &a[r], &b[0], outer, bStride, &offs[0], len(offs), acc)
			tile3x256(&c[24], ldc, &a[r], &b[24], outer, bStride, &offs[0], len(offs), acc)
		}
	}
}

// up2Vector and down2Vector leave the last values of a row, less than a vector, to Go.
func up2Vector(dst, src []float32, scale float32) {
	n := len(src) &^ 3
	up2256(dst[:2*n], src, scale)
	up2Go(dst[2*n:], src[n:], scale)
}

func down2Vector(dst, top, bottom []float32, scale float32) {
	n := len(dst) &^ 7
	top, bottom = top[:2*len(dst)], bottom[:2*len(dst)]
	down2256(dst[:n], top, bottom, scale)
	down2Go(dst[n:], top[2*n:], bottom[2*n:], scale)
}
