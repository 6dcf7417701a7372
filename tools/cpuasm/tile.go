package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tiles writes the matrix micro-kernels of 1, 2 and 3 vectors of columns. With
// AVX-512 all 8 rows are accumulated at once (24 registers), with AVX2 4 of them
// (12 registers), no tile being narrower than two vectors.
func (v *isa) tiles() {
	rows, narrowest := 4, 2
	if v.wide() {
		rows, narrowest = 8, 1
	}
	for nv := narrowest; nv <= 3; nv++ {
		v.tile(rows, nv)
	}
}

func (v *isa) tile(rows, nv int) {
	v.function(fmt.Sprintf("tile%dx", nv), "(c *float32, ldc int, a, b *float32, outer, bStride int, offs *int, taps int, acc bool)",
		fmt.Sprintf("is %d rows × %d vectors of kernels.tile.", rows, nv))
	arg := func(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }
	c, ldc, a, b := arg("c"), arg("ldc"), arg("a"), arg("b")
	outer, stride, offs, taps := arg("outer"), arg("bStride"), arg("offs"), arg("taps")
	SHLQ(Imm(2), ldc)
	SHLQ(Imm(2), stride)
	acc := make([]reg.VecVirtual, rows*nv)
	for i := range acc {
		acc[i] = v.zero()
	}
	size := 4 * v.lanes
	next, left, at := GP64(), GP64(), GP64()
	Label("outer")
	MOVQ(offs, next)
	MOVQ(taps, left)
	Label("tap")
	MOVQ(Mem{Base: next}, at)
	columns := make([]reg.VecVirtual, nv)
	for j := range columns {
		columns[j] = v.vec()
		VMOVUPS(Mem{Base: b, Index: at, Scale: 4, Disp: j * size}, columns[j])
	}
	// The next rows: the weights of small maps are read once, faster than the
	// processor foresees.
	PREFETCHT0(Mem{Base: a, Disp: 4096})
	for r := range rows {
		if v.wide() && nv == 1 { // a load of its own would be the limit
			VFMADD231PS_BCST(Mem{Base: a, Disp: 4 * r}, columns[0], acc[r])
			continue
		}
		w := v.broadcast(Mem{Base: a, Disp: 4 * r})
		for j := range columns {
			VFMADD231PS(w, columns[j], acc[r*nv+j])
		}
	}
	ADDQ(Imm(32), a)
	ADDQ(Imm(8), next)
	DECQ(left)
	JNZ(LabelRef("tap"))
	ADDQ(stride, b)
	DECQ(outer)
	JNZ(LabelRef("outer"))

	flag := Load(Param("acc"), GP8())
	TESTB(flag, flag)
	JZ(LabelRef("store"))
	from := GP64()
	MOVQ(c, from)
	for r := range rows {
		for j := range columns {
			VADDPS(Mem{Base: from, Disp: j * size}, acc[r*nv+j], acc[r*nv+j])
		}
		ADDQ(ldc, from)
	}
	Label("store")
	for r := range rows {
		for j := range columns {
			VMOVUPS(acc[r*nv+j], Mem{Base: c, Disp: j * size})
		}
		ADDQ(ldc, c)
	}
	finish()
}
