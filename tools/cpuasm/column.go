package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// columns writes softmax and centre, which run down the columns of a matrix, one
// vector of columns at a time.
func (v *isa) columns() {
	v.function("softmax", "(s, top, sum *float32, rows, ld int)", "is kernels.softmax.")
	v.useExp()
	v.down([]string{"s", "top", "sum"}, func(rows, step reg.GPVirtual, at map[string]reg.GPVirtual) {
		top := v.load(Mem{Base: at["s"]}, nil)
		v.rows("max", rows, step, at["s"], nil, func(s, _ Mem) { VMAXPS(s, top, top) })
		v.store(top, Mem{Base: at["top"]}, nil)
		sum := v.zero()
		v.rows("exp", rows, step, at["s"], nil, func(s, _ Mem) {
			x := v.load(s, nil)
			VSUBPS(top, x, x)
			e := v.exp(x)
			VADDPS(e, sum, sum)
			v.store(e, s, nil)
		})
		v.store(sum, Mem{Base: at["sum"]}, nil)
		inverse := v.copyOf("one")
		VDIVPS(sum, inverse, inverse)
		v.rows("scale", rows, step, at["s"], nil, func(s, _ Mem) {
			x := v.vec()
			VMULPS(s, inverse, x)
			v.store(x, s, nil)
		})
	})

	v.function("centre", "(s, p, mean *float32, rows, ld int)", "is kernels.centre.")
	v.down([]string{"s", "p", "mean"}, func(rows, step reg.GPVirtual, at map[string]reg.GPVirtual) {
		even, odd := v.zero(), v.zero()
		v.rows("dot", rows, step, at["s"], at["p"], func(s, p Mem) {
			VFMADD231PS(s, v.load(p, nil), even)
			even, odd = odd, even
		})
		VADDPS(odd, even, even)
		v.store(even, Mem{Base: at["mean"]}, nil)
		v.rows("subtract", rows, step, at["s"], nil, func(s, _ Mem) {
			x := v.load(s, nil)
			VSUBPS(even, x, x)
			v.store(x, s, nil)
		})
	})
}

// down calls body for every vector of columns, with the row count, the step from
// row to row in bytes, and pointers to the parameters' first values.
func (v *isa) down(names []string, body func(rows, step reg.GPVirtual, at map[string]reg.GPVirtual)) {
	at := map[string]reg.GPVirtual{}
	for _, n := range names {
		at[n] = Load(Param(n), GP64()).(reg.GPVirtual)
	}
	rows, left := Load(Param("rows"), GP64()).(reg.GPVirtual), Load(Param("ld"), GP64()).(reg.GPVirtual)
	step := GP64()
	MOVQ(left, step)
	SHLQ(Imm(2), step)
	Label("columns")
	body(rows, step, at)
	for _, n := range names {
		ADDQ(Imm(uint64(4*v.lanes)), at[n])
	}
	SUBQ(Imm(uint64(v.lanes)), left)
	JNZ(LabelRef("columns"))
	finish()
}

// rows calls body for every row of one matrix or of two with the same step.
func (v *isa) rows(label string, rows, step, s, p reg.GPVirtual, body func(s, p Mem)) {
	n, at, other := GP64(), GP64(), GP64()
	MOVQ(rows, n)
	MOVQ(s, at)
	if p != nil {
		MOVQ(p, other)
	}
	advance := func() {
		ADDQ(step, at)
		if p != nil {
			ADDQ(step, other)
		}
	}
	// Two rows at a time, the first alone where the count is odd.
	TESTQ(I32(1), n)
	JZ(LabelRef(label + "_even"))
	body(Mem{Base: at}, Mem{Base: other})
	advance()
	DECQ(n)
	JZ(LabelRef(label + "_done"))
	Label(label + "_even")
	for range 2 {
		body(Mem{Base: at}, Mem{Base: other})
		advance()
	}
	SUBQ(Imm(2), n)
	JNZ(LabelRef(label + "_even"))
	Label(label + "_done")
}
