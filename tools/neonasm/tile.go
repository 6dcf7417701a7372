package main

import "fmt"

// tiles writes the matrix micro-kernels of 8 rows × 12 and × 8 columns. Of the 32
// registers, 8 × 12 results take 24, a column of A two and a row of B three: the
// largest tile of whole vectors of the panels' 8 rows. A step then has five loads
// for 24 multiplications, which take their factor of A from a lane, so that
// nothing is broadcast; the loads fit between the multiplications whether the
// processor has two units for them or four, and 24 sums outnumber the
// multiplications in flight (4 units × 4 cycles).
func (a *asm) tiles() {
	a.tile(3)
	a.tile(2)
}

func (a *asm) tile(nv int) {
	const rows = 8
	a.function(fmt.Sprintf("tile%dx%dNeon", rows, 4*nv), "(c *float32, ldc int, a, b *float32, outer, bStride int, offs *int, taps int, acc bool)",
		fmt.Sprintf("is 8 rows × %d columns of kernels.tile.", 4*nv))
	c, ldc, panel, b := a.arg("c"), a.arg("ldc"), a.arg("a"), a.arg("b")
	outer, stride, offs, taps, add := a.arg("outer"), a.arg("bStride"), a.arg("offs"), a.arg("taps"), a.arg("acc")
	var sums [rows]vecs
	for r := range sums {
		sums[r] = a.vecs(nv)
		a.zero(sums[r])
	}
	a.times(outer, func() {
		next, left := a.gp(), a.gp()
		a.op("MOVD", offs, next)
		a.op("MOVD", taps, left)
		a.times(left, func() {
			at := a.gp()
			a.op("MOVD.P", mem(next, 8), at)
			a.op("ADD", scaled(at), b, at)
			w := a.load(panel, rows, true)
			columns := a.load(at, 4*nv, false)
			for r := range sums {
				a.fmlaLane(sums[r], columns, lane{w[r/4], r % 4})
			}
		})
		a.op("ADD", scaled(stride), b)
	})
	a.op("LSL", "$2", ldc, ldc)
	a.op("CBZ", add, "store")
	from := a.gp()
	a.op("MOVD", c, from)
	for r := range sums {
		a.scope(func() { a.fadd(sums[r], sums[r], a.load(from, 4*nv, false)) })
		a.op("ADD", ldc, from)
	}
	a.label("store")
	for r := range sums {
		a.scope(func() {
			to := a.gp()
			a.op("MOVD", c, to)
			a.store(sums[r], to, 4*nv)
		})
		a.op("ADD", ldc, c)
	}
	a.ret()
}
