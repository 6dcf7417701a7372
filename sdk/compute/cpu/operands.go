//go:build amd64 || arm64

package cpu

// inside panics where a tile would leave its operands: the assembly does not look.
func inside(c []float32, ldc int, a, b []float32, outer, bStride int, offs []int, nv int) {
	_ = c[7*ldc+16*nv-1]
	_ = a[8*outer*len(offs)-1]
	_ = b[(outer-1)*bStride+offs[len(offs)-1]+16*nv-1] // offsets ascend
}

type (
	tileIn  = func(v *float32, stride int, x *float32, pitch, skip int, at *int, groups int, tmp *float32)
	tileOut = func(y *float32, width int, at *int, groups int, m *float32, stride int, tmp, bias, add *float32)
)

// wrapTransforms checks the operands of a scheme's assembly, whose vectors hold
// so many runs: it does not look.
func wrapTransforms(s *scheme, runs int, in tileIn, out, outAdd tileOut) transforms {
	side := s.size + 2
	check := func(v []float32, stride int, x []float32, reach int, at []int, skip int, tmp []float32) {
		_ = v[(s.points-1)*stride+4*len(at)-1]
		_, _ = x[at[0]-skip], x[at[len(at)-1]-skip+reach-1] // runs ascend
		_ = tmp[tileScratch-1]
	}
	return transforms{
		in: func(v []float32, stride int, x []float32, pitch int, at []int, skip int, tmp []float32) {
			check(v, stride, x, (side-1)*pitch+s.run+s.size, at, skip, tmp)
			in(&v[0], stride, &x[0], pitch, skip, &at[0], len(at)/runs, &tmp[0])
		},
		out: func(y []float32, width int, at []int, m []float32, stride int, tmp []float32, bias float32, add []float32) {
			check(m, stride, y, (s.size-1)*width+s.run, at, 0, tmp)
			if add == nil {
				out(&y[0], width, &at[0], len(at)/runs, &m[0], stride, &tmp[0], &bias, &y[0])
				return
			}
			check(m, stride, add, (s.size-1)*width+s.run, at, 0, tmp)
			outAdd(&y[0], width, &at[0], len(at)/runs, &m[0], stride, &tmp[0], &bias, &add[0])
		},
	}
}
