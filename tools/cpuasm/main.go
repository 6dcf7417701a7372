// Command cpuasm writes the vector kernels of sdk/compute/cpu, for AVX-512 and
// for AVX2 with FMA, from one description. What each computes is defined by the
// Go functions in that package's generic.go. Run it there with go generate.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	pause()
	for _, v := range []*isa{{name: "512", lanes: 16}, {name: "256", lanes: 8}} {
		v.tiles()
		v.reductions()
		v.panel()
		v.maps()
		v.activations()
		v.jet()
		v.columns()
		v.winograd()
		if !v.wide() {
			v.resample()
		}
	}
	Generate()
}

// pause writes what a thread does between two looks at a counter.
func pause() {
	TEXT("pause", NOSPLIT, "func()")
	Doc("pause gives the other thread of a core, and power, a moment.")
	PAUSE()
	RET()
}

// isa is an instruction set: the width of its vectors and the way it masks.
type isa struct {
	name  string
	lanes int
	// Of the function being written:
	constants map[string]Op
}

// function starts a function named for the instruction set.
func (v *isa) function(name, signature, doc string) {
	TEXT(name+v.name, NOSPLIT, "func"+signature)
	Pragma("noescape")
	Doc(name + v.name + " " + doc)
	v.constants = map[string]Op{}
}

func (v *isa) wide() bool { return v.lanes == 16 }

func (v *isa) vec() reg.VecVirtual {
	if v.wide() {
		return ZMM()
	}
	return YMM()
}

func (v *isa) zero() reg.VecVirtual {
	r := v.vec()
	if v.wide() {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

// broadcast returns a parameter or other 32-bit value in all lanes.
func (v *isa) broadcast(m Op) reg.VecVirtual {
	r := v.vec()
	VBROADCASTSS(m, r)
	return r
}

// param returns a scalar parameter in all lanes.
func (v *isa) param(name string) reg.VecVirtual {
	x := XMM()
	Load(Param(name), x)
	return v.broadcast(x)
}

// mask selects the first lanes; nil selects all.
type mask struct{ r reg.Register }

// rest returns the mask of n lanes, n below the width.
func (v *isa) rest(n reg.GPVirtual) *mask {
	if v.wide() {
		ones, k := GP32(), K()
		MOVL(I32(-1), ones)
		BZHIL(n.As32(), ones, ones)
		KMOVW(ones, k)
		return &mask{k}
	}
	table, r := GP64(), YMM()
	LEAQ(maskTable().Offset(32), table)
	SHLQ(Imm(2), n)
	SUBQ(n, table)
	VMOVUPS(Mem{Base: table}, r)
	return &mask{r}
}

var maskData *Mem

// maskTable holds 8 lanes of ones, then 8 of zeros.
func maskTable() Mem {
	if maskData == nil {
		m := GLOBL("lanes", RODATA|NOPTR)
		for i := range 16 {
			DATA(4*i, U32(uint32(0xffffffff)*uint32(1-i/8)))
		}
		maskData = &m
	}
	return *maskData
}

func (v *isa) load(from Mem, m *mask) reg.VecVirtual {
	r := v.vec()
	switch {
	case m == nil:
		VMOVUPS(from, r)
	case v.wide():
		VMOVUPS_Z(from, m.r, r)
	default:
		VMASKMOVPS(from, m.r, r)
	}
	return r
}

func (v *isa) store(r reg.Register, to Mem, m *mask) {
	switch {
	case m == nil:
		VMOVUPS(r, to)
	case v.wide():
		VMOVUPS(r, m.r, to)
	default:
		VMASKMOVPS(r, m.r, to)
	}
}

// keep zeroes the lanes outside the mask.
func (v *isa) keep(r reg.Register, m *mask) {
	if m == nil {
		return
	}
	if v.wide() {
		VMOVAPS_Z(r, m.r, r)
	} else {
		VANDPS(m.r, r, r)
	}
}

// each runs body over the values of the slice parameters, in whole vectors and
// then masked; at gives the operand of a parameter. A slice's length is that of
// the first.
func (v *isa) each(slices []string, body func(at func(name string) Mem, m *mask)) {
	n := Load(Param(slices[0]).Len(), GP64()).(reg.GPVirtual)
	base := map[string]reg.Register{}
	for _, s := range slices {
		base[s] = Load(Param(s).Base(), GP64())
	}
	i, full := GP64(), GP64()
	at := func(name string) Mem { return Mem{Base: base[name], Index: i, Scale: 4} }
	XORQ(i, i)
	MOVQ(n, full)
	ANDQ(I32(-v.lanes), full)
	Label("loop")
	CMPQ(i, full)
	JGE(LabelRef("tail"))
	body(at, nil)
	ADDQ(Imm(uint64(v.lanes)), i)
	JMP(LabelRef("loop"))
	Label("tail")
	SUBQ(i, n)
	JZ(LabelRef("done"))
	body(at, v.rest(n))
	Label("done")
}

func finish() {
	VZEROUPPER()
	RET()
}
