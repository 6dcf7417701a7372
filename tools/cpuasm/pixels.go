package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// How rows of pixels become vectors of tiles' columns, and back.

// runs returns how many runs of 4·size pixels make a vector of tiles.
func (v *isa) runs() int { return v.lanes / 4 }

// pieces gives the operands of the four vectors of pixels of tiles of size 4.
func (v *isa) pieces(base reg.Register, at []reg.GPVirtual) (m [4]Mem) {
	for k := range m {
		if v.wide() {
			m[k] = Mem{Base: base, Index: at[k], Scale: 4}
		} else {
			m[k] = Mem{Base: base, Index: at[k/2], Scale: 4, Disp: k % 2 * 32}
		}
	}
	return m
}

func (v *isa) fourths(base reg.Register, at []reg.GPVirtual) []reg.VecVirtual {
	m := v.pieces(base, at)
	var x, y [4]reg.VecVirtual
	for k := range m {
		x[k] = v.load(m[k], nil)
	}
	x = v.transpose(x, true)
	for k := range m {
		y[k] = v.load(m[k].Offset(16), nil)
	}
	y = v.transpose(y, false)
	return append(x[:], y[:2]...)
}

func (v *isa) joinFourths(columns []reg.VecVirtual, base, add reg.Register, at []reg.GPVirtual) {
	to := v.pieces(base, at)
	var from [4]Mem
	if add != nil {
		from = v.pieces(add, at)
	}
	for k, o := range v.transpose([4]reg.VecVirtual(columns), true) {
		if add != nil {
			VADDPS(from[k], o, o)
		}
		v.store(o, to[k], nil)
	}
}

// row loads a vector of pixels in runs of 8.
func (v *isa) row(base reg.Register, at []reg.GPVirtual, disp int) reg.VecVirtual {
	r := v.vec()
	if !v.wide() {
		VMOVUPS(Mem{Base: base, Index: at[0], Scale: 4, Disp: disp}, r)
		return r
	}
	VMOVUPS(Mem{Base: base, Index: at[0], Scale: 4, Disp: disp}, r.AsY())
	VINSERTF64X4(Imm(1), Mem{Base: base, Index: at[1], Scale: 4, Disp: disp}, r, r)
	return r
}

func (v *isa) halves(base reg.Register, at []reg.GPVirtual) (columns []reg.VecVirtual) {
	half := len(at) / 2
	for _, disp := range []int{0, 8} {
		x, y := v.row(base, at[:half], disp), v.row(base, at[half:], disp)
		even := v.vec()
		VSHUFPS(Imm(0x88), y, x, even)
		VSHUFPS(Imm(0xdd), y, x, x)
		columns = append(columns, even, x)
	}
	return columns
}

func (v *isa) joinHalves(columns []reg.VecVirtual, base, add reg.Register, at []reg.GPVirtual) {
	half := len(at) / 2
	low := v.vec()
	VUNPCKLPS(columns[1], columns[0], low)
	VUNPCKHPS(columns[1], columns[0], columns[0])
	for k, o := range []reg.VecVirtual{low, columns[0]} {
		at := at[k*half : (k+1)*half]
		if add != nil {
			VADDPS(v.row(add, at, 0), o, o)
		}
		to := Mem{Base: base, Index: at[0], Scale: 4}
		if !v.wide() {
			VMOVUPS(o, to)
			continue
		}
		VMOVUPS(o.AsY(), to)
		VEXTRACTF64X4(Imm(1), o, Mem{Base: base, Index: at[1], Scale: 4})
	}
}

// transpose transposes 4×4 cells of every lane; the first two results alone
// where not all are wanted.
func (v *isa) transpose(x [4]reg.VecVirtual, all bool) (y [4]reg.VecVirtual) {
	low, low2 := v.vec(), v.vec()
	VUNPCKLPS(x[1], x[0], low)
	VUNPCKLPS(x[3], x[2], low2)
	if all {
		VUNPCKHPS(x[1], x[0], x[0])
		VUNPCKHPS(x[3], x[2], x[2])
	}
	y[0], y[1] = v.vec(), v.vec()
	VUNPCKLPD(low2, low, y[0])
	VUNPCKHPD(low2, low, y[1])
	if all {
		y[2], y[3] = v.vec(), v.vec()
		VUNPCKLPD(x[2], x[0], y[2])
		VUNPCKHPD(x[2], x[0], y[3])
	}
	return y
}
