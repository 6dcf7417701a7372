package cpu

import "golang.org/x/sys/cpu"

//go:generate go run ../../../tools/neonasm -out vector_arm64.s -stubs vector_arm64.go

// available lists the kernels that this processor can run, the best first.
func available() (all []*kernels) {
	if cpu.ARM64.HasASIMD {
		all = append(all, neon)
	}
	return append(all, generic)
}

// neon hands over the first values of slices, whose lengths it checks as the Go
// functions do; of none there is no first. What is not listed here stays the Go
// function.
var neon = func() *kernels {
	k := *generic
	k.name = "neon"
	k.tile = tileNeon
	k.sum = func(x []float32) float32 {
		if len(x) == 0 {
			return 0
		}
		return sumNeon(&x[0], len(x))
	}
	k.cdot = func(x, y []float32, mx, my float32) float32 {
		if len(x) == 0 {
			return 0
		}
		return cdotNeon(&x[0], &y[:len(x)][0], len(x), mx, my)
	}
	k.sums = func(s *[3]float32, a, b []float32) {
		if n := len(a); n > 0 {
			sumsNeon(&s[0], &a[0], &b[:n][0], n)
		} else {
			*s = [3]float32{}
		}
	}
	k.dots = func(s *[3]float32, x, a, b []float32, k *[3]float32) {
		if n := len(x); n > 0 {
			dotsNeon(&s[0], &x[0], &a[:n][0], &b[:n][0], n, &k[0])
		} else {
			*s = [3]float32{}
		}
	}
	k.mul = func(dst, a, b []float32) {
		if n := len(dst); n > 0 {
			mulNeon(&dst[0], &a[:n][0], &b[:n][0], n)
		}
	}
	k.fma = func(dst, a, b []float32) {
		if n := len(dst); n > 0 {
			fmaNeon(&dst[0], &a[:n][0], &b[:n][0], n)
		}
	}
	k.exp = func(dst, x []float32, scale, shift float32) {
		if n := len(dst); n > 0 {
			expNeon(&dst[0], &x[:n][0], n, scale, shift)
		}
	}
	k.panel = func(dst, a, x []float32) {
		if n := len(x); n > 0 {
			panelNeon(&dst[:8][0], &a[:8*n][0], &x[0], n)
		} else {
			clear(dst[:8])
		}
	}
	k.affine = func(dst, x []float32, k *act) {
		if n := len(dst); n > 0 {
			affineNeon(&dst[0], &x[:n][0], n, k)
		}
	}
	k.silu = func(dst, x []float32, k *act) {
		if n := len(dst); n > 0 {
			siluNeon(&dst[0], &x[:n][0], n, k)
		}
	}
	k.linear = func(dst, x, a []float32, k *act, acc bool) {
		run := linearNeon
		if acc {
			run = linearAddNeon
		}
		if n := len(dst); n > 0 {
			run(&dst[0], &x[:n][0], &a[:n][0], n, k)
		}
	}
	k.tangent = func(dst, x, a []float32, k *act, acc bool) {
		run := tangentNeon
		if acc {
			run = tangentAddNeon
		}
		if n := len(dst); n > 0 {
			run(&dst[0], &x[:n][0], &a[:n][0], n, k)
		}
	}
	k.second = func(dst, x, a, b, ab []float32, k *act) {
		if n := len(dst); n > 0 {
			secondNeon(&dst[0], &x[:n][0], &a[:n][0], &b[:n][0], &ab[:n][0], n, k)
		}
	}
	k.jet = func(first, dst, x, a, ab []float32, c *act) {
		k.tangent(first, x, a, c, false)
		k.second(dst, x, a, a, ab, c)
	}
	k.softmax = func(s, top, sum []float32, rows, ld int) {
		softmaxNeon(&s[:rows*ld][0], &top[:ld][0], &sum[:ld][0], rows, ld)
	}
	k.centre = func(s, p, mean []float32, rows, ld int) {
		centreNeon(&s[:rows*ld][0], &p[:rows*ld][0], &mean[:ld][0], rows, ld)
	}
	k.winograd = [len(schemes)]transforms{
		wrapTransforms(&schemes[0], 1, tileIn4xNeon, tileOut4xNeon, tileOut4xAddNeon),
		wrapTransforms(&schemes[1], 1, tileIn2xNeon, tileOut2xNeon, tileOut2xAddNeon),
	}
	return &k
}()

// tileNeon covers the tile by parts that 32 registers hold: 8 rows × 12 or 8
// columns.
func tileNeon(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, nv int, acc bool) {
	inside(c, ldc, a, b, outer, bStride, offs, nv)
	for j := 0; j < 16*nv; {
		if left := 16*nv - j; left%12 == 0 || left > 16 {
			tile8x12Neon(&c[j], ldc, &a[0], &b[j], outer, bStride, &offs[0], len(offs), acc)
			j += 12
		} else {
			tile8x8Neon(&c[j], ldc, &a[0], &b[j], outer, bStride, &offs[0], len(offs), acc)
			j += 8
		}
	}
}
