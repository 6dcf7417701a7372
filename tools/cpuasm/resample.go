package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// resample writes the changes of resolution by two, eight values at a time; the
// last ones of a row are the caller's. They wait for memory, so that wider vectors
// would not be faster.
func (v *isa) resample() {
	v.function("up2", "(dst, src []float32, scale float32)", "is kernels.up2, of whole vectors of dst.")
	n := Load(Param("dst").Len(), GP64()).(reg.GPVirtual)
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	scale := v.param("scale")
	v.vectors(n, func() {
		pairs := YMM()
		VPMOVZXDQ(Mem{Base: src}, pairs)
		VMOVSLDUP(pairs, pairs)
		VMULPS(scale, pairs, pairs)
		VMOVUPS(pairs, Mem{Base: dst})
		ADDQ(Imm(16), src)
		ADDQ(Imm(32), dst)
	})

	v.function("down2", "(dst, top, bottom []float32, scale float32)", "is kernels.down2, of whole vectors of dst.")
	n = Load(Param("dst").Len(), GP64()).(reg.GPVirtual)
	dst = Load(Param("dst").Base(), GP64())
	top, bottom := Load(Param("top").Base(), GP64()), Load(Param("bottom").Base(), GP64())
	scale = v.param("scale")
	v.vectors(n, func() {
		var sums [2]reg.VecVirtual
		for i := range sums {
			sums[i] = YMM()
			VMOVUPS(Mem{Base: top, Disp: 32 * i}, sums[i])
			VADDPS(Mem{Base: bottom, Disp: 32 * i}, sums[i], sums[i])
		}
		even := YMM()
		VSHUFPS(Imm(0x88), sums[1], sums[0], even)
		VSHUFPS(Imm(0xdd), sums[1], sums[0], sums[0])
		VADDPS(sums[0], even, even)
		VPERMQ(Imm(0xd8), even, even)
		VMULPS(scale, even, even)
		VMOVUPS(even, Mem{Base: dst})
		ADDQ(Imm(64), top)
		ADDQ(Imm(64), bottom)
		ADDQ(Imm(32), dst)
	})
}

// vectors calls body for every whole vector of n values.
func (v *isa) vectors(n reg.GPVirtual, body func()) {
	Label("loop")
	SUBQ(Imm(8), n)
	JL(LabelRef("done"))
	body()
	JMP(LabelRef("loop"))
	Label("done")
	finish()
}
