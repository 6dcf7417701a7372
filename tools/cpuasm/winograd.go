package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The interpolation points of F(4×4, 3×3) are 0, ±1/√2, ±√2 and ∞, those of
// F(2×2, 3×3) 0, ±1 and ∞, see winograd.go of the package.
var (
	root    = float32(math.Sqrt2)
	inverse = float32(1 / math.Sqrt2)
)

// winograd writes the transforms of F(4×4, 3×3) and F(2×2, 3×3). A vector holds
// one value of each of so many tiles. Of four vectors of pixels, transposing 4×4
// cells in every 128-bit lane gathers each fourth pixel; of two, a shuffle each
// second. The tiles' order within a vector is then not that of the image; the
// output's shuffles restore it.
func (v *isa) winograd() {
	for _, f := range []transform{
		{side: 6, size: 4, cut: v.fourths, join: v.joinFourths, forward: v.forward6, back: v.back6,
			names: []string{"two", "half", "middle", "root", "inverseRoot", "root3", "inverseRoot3"}},
		{side: 4, size: 2, cut: v.halves, join: v.joinHalves, forward: v.forward4, back: v.back4},
	} {
		v.tileIn(f)
		v.tileOut(f, false)
		v.tileOut(f, true)
	}
}

// transform is one F(size×size, 3×3).
type transform struct {
	side, size int // of a tile's input and output
	// cut gathers the side columns of a row of pixels of a vector of tiles that
	// start at byte offsets; join stores size columns of a row of results.
	cut     func(base reg.Register, at []reg.GPVirtual) []reg.VecVirtual
	join    func(columns []reg.VecVirtual, base, add reg.Register, at []reg.GPVirtual)
	forward func(x []reg.VecVirtual) []reg.VecVirtual
	back    func(m []reg.VecVirtual) []reg.VecVirtual
	names   []string // of constants
}

var tileConstants = map[string]float32{"two": 2, "half": 0.5, "middle": 2.5, "root": root, "inverseRoot": inverse, "root3": 2 * root, "inverseRoot3": inverse / 2}

// use makes constants known by their names: registers with AVX-512, memory with
// AVX2.
func (v *isa) use(names []string) {
	for _, name := range names {
		m := constant(name, bits(tileConstants[name]))
		if v.wide() {
			v.constants[name] = v.broadcast(m)
		} else {
			v.constants[name] = m
		}
	}
}

func (v *isa) duplicate(x reg.VecVirtual) reg.VecVirtual {
	r := v.vec()
	VMOVAPS(x, r)
	return r
}

// pair is even ± c·odd; both sources are overwritten.
func (v *isa) pair(c Op, even, odd reg.VecVirtual) (plus, minus reg.VecVirtual) {
	plus = v.duplicate(even)
	VFMADD231PS(c, odd, plus)
	VFNMADD231PS(c, odd, even)
	return plus, even
}

// forward6 is Bᵀx of F(4×4, 3×3).
func (v *isa) forward6(x []reg.VecVirtual) []reg.VecVirtual {
	k := v.constants
	even, odd := v.duplicate(x[4]), v.duplicate(x[3])
	VFNMADD231PS(k["two"], x[2], even)
	VFNMADD231PS(k["two"], x[1], odd)
	y1, y2 := v.pair(k["inverseRoot"], even, odd)
	even, odd = v.duplicate(x[4]), v.duplicate(x[3])
	VFNMADD231PS(k["half"], x[2], even)
	VFNMADD231PS(k["half"], x[1], odd)
	y3, y4 := v.pair(k["root"], even, odd)
	VADDPS(x[4], x[0], x[0])
	VFNMADD231PS(k["middle"], x[2], x[0])
	VADDPS(x[1], x[5], x[5])
	VFNMADD231PS(k["middle"], x[3], x[5])
	return []reg.VecVirtual{x[0], y1, y2, y3, y4, x[5]}
}

// back6 is Aᵀm of F(4×4, 3×3).
func (v *isa) back6(m []reg.VecVirtual) []reg.VecVirtual {
	k := v.constants
	s1, d1 := v.vec(), m[1]
	VADDPS(m[2], m[1], s1)
	VSUBPS(m[2], m[1], d1)
	s2, d2 := v.vec(), m[3]
	VADDPS(m[4], m[3], s2)
	VSUBPS(m[4], m[3], d2)
	VADDPS(s1, m[0], m[0])
	VADDPS(s2, m[0], m[0])
	y := []reg.VecVirtual{m[0], v.vec(), v.vec(), m[5]}
	VMULPS(k["inverseRoot"], d1, y[1])
	VFMADD231PS(k["root"], d2, y[1])
	VADDPS(s2, s2, y[2])
	VFMADD231PS(k["half"], s1, y[2])
	VFMADD231PS(k["inverseRoot3"], d1, y[3])
	VFMADD231PS(k["root3"], d2, y[3])
	return y
}

// forward4 is Bᵀx of F(2×2, 3×3).
func (v *isa) forward4(x []reg.VecVirtual) []reg.VecVirtual {
	y1 := v.vec()
	VADDPS(x[2], x[1], y1)
	VSUBPS(x[2], x[0], x[0])
	VSUBPS(x[1], x[2], x[2])
	VSUBPS(x[1], x[3], x[3])
	return []reg.VecVirtual{x[0], y1, x[2], x[3]}
}

// back4 is Aᵀm of F(2×2, 3×3).
func (v *isa) back4(m []reg.VecVirtual) []reg.VecVirtual {
	VADDPS(m[1], m[0], m[0])
	VADDPS(m[2], m[0], m[0])
	VSUBPS(m[2], m[1], m[1])
	VADDPS(m[3], m[1], m[1])
	return []reg.VecVirtual{m[0], m[1]}
}

// skipBy advances p by so many strides of bytes.
func skipBy(p, stride reg.Register, times int) {
	for ; times > 1; times -= 2 {
		LEAQ(Mem{Base: p, Index: stride, Scale: 2}, p)
	}
	if times > 0 {
		ADDQ(stride, p)
	}
}

// offsets reads where a group's runs start.
func (v *isa) offsets(at reg.Register) []reg.GPVirtual {
	all := make([]reg.GPVirtual, v.runs())
	for k := range all {
		all[k] = GP64()
		MOVQ(Mem{Base: at, Disp: 8 * k}, all[k])
	}
	return all
}

func (v *isa) tileIn(f transform) {
	v.function(fmt.Sprintf("tileIn%dx", f.size), "(v *float32, stride int, x *float32, pitch, skip int, at *int, groups int, tmp *float32)", "is transforms.in, for groups of a vector of tiles.")
	if f.names != nil {
		v.use(f.names[:5])
	}
	arg := func(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }
	to, stride, x, pitch, at, groups, tmp := arg("v"), arg("stride"), arg("x"), arg("pitch"), arg("at"), arg("groups"), arg("tmp")
	size := 4 * v.lanes
	SHLQ(Imm(2), stride)
	skip := arg("skip")
	SHLQ(Imm(2), skip)
	SUBQ(skip, x)
	Label("group")
	runs := v.offsets(at)
	for row := range f.side {
		for j, y := range f.forward(f.cut(x, runs)) {
			v.store(y, Mem{Base: tmp, Disp: (row*f.side + j) * size}, nil)
		}
		for k := range runs {
			if row < f.side-1 {
				ADDQ(pitch, runs[k])
			}
		}
	}
	p, column := GP64(), GP64()
	MOVQ(to, column)
	for j := range f.side {
		in := make([]reg.VecVirtual, f.side)
		for i := range in {
			in[i] = v.load(Mem{Base: tmp, Disp: (i*f.side + j) * size}, nil)
		}
		MOVQ(column, p)
		for i, y := range f.forward(in) {
			v.store(y, Mem{Base: p}, nil)
			if i < f.side-1 {
				skipBy(p, stride, f.side)
			}
		}
		ADDQ(stride, column)
	}
	v.nextGroup(to, at, groups)
}

// nextGroup ends the loop over groups.
func (v *isa) nextGroup(values, at, groups reg.Register) {
	ADDQ(Imm(uint64(4*v.lanes)), values)
	ADDQ(Imm(uint64(8*v.runs())), at)
	DECQ(groups)
	JNZ(LabelRef("group"))
	finish()
}

func (v *isa) tileOut(f transform, add bool) {
	v.function(variant(fmt.Sprintf("tileOut%dx", f.size), add), "(y *float32, width int, at *int, groups int, m *float32, stride int, tmp, bias, add *float32)", "is transforms.out, for groups of a vector of tiles.")
	if f.names != nil {
		v.use(f.names[1:2])
		v.use(f.names[3:])
	}
	arg := func(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }
	y, width, at, groups := arg("y"), arg("width"), arg("at"), arg("groups")
	m, stride, tmp := arg("m"), arg("stride"), arg("tmp")
	var also reg.Register
	if add {
		also = arg("add")
	}
	bias := v.broadcast(Mem{Base: arg("bias")})
	size := 4 * v.lanes
	SHLQ(Imm(2), stride)
	Label("group")
	p, column := GP64(), GP64()
	MOVQ(m, column)
	for j := range f.side {
		in := make([]reg.VecVirtual, f.side)
		MOVQ(column, p)
		for i := range in {
			in[i] = v.load(Mem{Base: p}, nil)
			if i < f.side-1 {
				skipBy(p, stride, f.side)
			}
		}
		for r, out := range f.back(in) {
			v.store(out, Mem{Base: tmp, Disp: (r*f.side + j) * size}, nil)
		}
		ADDQ(stride, column)
	}
	runs := v.offsets(at)
	for r := range f.size {
		in := make([]reg.VecVirtual, f.side)
		for j := range in {
			in[j] = v.load(Mem{Base: tmp, Disp: (r*f.side + j) * size}, nil)
		}
		out := f.back(in)
		for _, o := range out {
			VADDPS(bias, o, o)
		}
		f.join(out, y, also, runs)
		for k := range runs {
			if r < f.size-1 {
				ADDQ(width, runs[k])
			}
		}
	}
	v.nextGroup(m, at, groups)
}
