package main

import (
	"fmt"
	"math"
	"slices"
)

// winograd writes the transforms of F(4×4, 3×3) and F(2×2, 3×3), of one run of
// four tiles at a time: a register holds one value of each. Loads and stores that
// take every fourth or every second pixel make columns of rows of pixels.
func (a *asm) winograd() {
	a.table("neonWinograd", winogradValues)
	for _, f := range []transform{
		{side: 6, size: 4, forward: (*asm).forward6, back: (*asm).back6},
		{side: 4, size: 2, forward: (*asm).forward4, back: (*asm).back4},
	} {
		a.tileIn(f)
		a.tileOut(f, false)
		a.tileOut(f, true)
	}
}

// transform is one F(size×size, 3×3).
type transform struct {
	side, size int // of a tile's input and output
	forward    func(a *asm, k vecs, x []vecs) []vecs
	back       func(a *asm, k vecs, m []vecs) []vecs
}

// The interpolation points of F(4×4, 3×3) are 0, ±1/√2, ±√2 and ∞, those of
// F(2×2, 3×3) 0, ±1 and ∞, see winograd.go of the package.
var (
	winogradNames  = []string{"two", "half", "middle", "root", "inverse", "root2", "inverseHalf", "zero"}
	winogradValues = []float32{2, 0.5, 2.5, math.Sqrt2, 1 / math.Sqrt2, 2 * math.Sqrt2, 0.5 / math.Sqrt2, 0}
)

func winogradLane(k vecs, name string) lane {
	i := slices.Index(winogradNames, name)
	return lane{k[i/4], i % 4}
}

// forward6 is Bᵀx of F(4×4, 3×3).
func (a *asm) forward6(k vecs, x []vecs) []vecs {
	of := func(name string) lane { return winogradLane(k, name) }
	y := []vecs{x[0], a.vecs(1), a.vecs(1), a.vecs(1), a.vecs(1), x[5]}
	odd := a.vecs(1)
	for i, names := range [][2]string{{"two", "inverse"}, {"half", "root"}} {
		plus, minus := y[2*i+1], y[2*i+2]
		a.mov(minus, x[4])
		a.mov(odd, x[3])
		a.fmlsLane(minus, x[2], of(names[0]))
		a.fmlsLane(odd, x[1], of(names[0]))
		a.mov(plus, minus)
		a.fmlaLane(plus, odd, of(names[1]))
		a.fmlsLane(minus, odd, of(names[1]))
	}
	a.fadd(x[0], x[0], x[4])
	a.fmlsLane(x[0], x[2], of("middle"))
	a.fadd(x[5], x[5], x[1])
	a.fmlsLane(x[5], x[3], of("middle"))
	return y
}

// back6 is Aᵀm of F(4×4, 3×3).
func (a *asm) back6(k vecs, m []vecs) []vecs {
	of := func(name string) lane { return winogradLane(k, name) }
	y := a.vecs(4)
	s1, s2, d1, d2 := a.vecs(1), a.vecs(1), m[1], m[3]
	a.fadd(s1, m[1], m[2])
	a.fsub(d1, m[1], m[2])
	a.fadd(s2, m[3], m[4])
	a.fsub(d2, m[3], m[4])
	a.fadd(y[:1], m[0], s1)
	a.fadd(y[:1], y[:1], s2)
	a.fmulLane(y[1:2], d1, of("inverse"))
	a.fmlaLane(y[1:2], d2, of("root"))
	a.fadd(y[2:3], s2, s2)
	a.fmlaLane(y[2:3], s1, of("half"))
	a.mov(y[3:], m[5])
	a.fmlaLane(y[3:], d1, of("inverseHalf"))
	a.fmlaLane(y[3:], d2, of("root2"))
	return split(y)
}

// forward4 is Bᵀx of F(2×2, 3×3).
func (a *asm) forward4(_ vecs, x []vecs) []vecs {
	y := a.vecs(1)
	a.fadd(y, x[1], x[2])
	a.fsub(x[0], x[0], x[2])
	a.fsub(x[2], x[2], x[1])
	a.fsub(x[3], x[3], x[1])
	return []vecs{x[0], y, x[2], x[3]}
}

// back4 is Aᵀm of F(2×2, 3×3).
func (a *asm) back4(_ vecs, m []vecs) []vecs {
	y := a.vecs(2)
	a.fadd(y[:1], m[0], m[1])
	a.fadd(y[:1], y[:1], m[2])
	a.fsub(y[1:], m[1], m[2])
	a.fadd(y[1:], y[1:], m[3])
	return split(y)
}

func split(v vecs) (all []vecs) {
	for i := range v {
		all = append(all, v[i:i+1])
	}
	return all
}

// interleaved moves every so many-th pixel to or from the registers.
func (a *asm) interleaved(v vecs, p gp, store bool) {
	list := ""
	for i, r := range v {
		if i > 0 {
			list += ", "
		}
		list += r.s4()
	}
	if store {
		a.op(fmt.Sprintf("VST%d", len(v)), "["+list+"]", fmt.Sprintf("(%v)", p))
	} else {
		a.op(fmt.Sprintf("VLD%d", len(v)), fmt.Sprintf("(%v)", p), "["+list+"]")
	}
}

// cut returns the side columns of a row of pixels of a run: size of them by their
// place in a tile, then the first two of the next tile.
func (a *asm) cut(f transform, p gp) []vecs {
	v, next := a.vecs(f.size), a.vecs(3)
	a.interleaved(v, p, false)
	a.op("FMOVD", mem(p, 16*f.size), next[2].f())
	a.shift(next[0], v[0], next[2])
	a.shift(next[2], next[2], next[2])
	a.shift(next[1], v[1], next[2])
	return append(split(v), split(next[:2])...)
}

// fetch returns the values of a tile's row or column in the scratch of a run.
func (a *asm) fetch(tmp gp, n, first, step int) []vecs {
	v := a.vecs(n)
	for i, r := range v {
		a.op("FMOVQ", mem(tmp, 16*(first+i*step)), r.f())
	}
	return split(v)
}

func (a *asm) tileIn(f transform) {
	a.function(fmt.Sprintf("tileIn%dxNeon", f.size), "(v *float32, stride int, x *float32, pitch, skip int, at *int, groups int, tmp *float32)", "is transforms.in, for runs of four tiles.")
	k := a.vecs(2)
	if f.size == 4 {
		a.constants("$neonWinograd<>(SB)", k)
	}
	to, stride, x, pitch, skip := a.arg("v"), a.arg("stride"), a.arg("x"), a.arg("pitch"), a.arg("skip")
	at, groups, tmp, down := a.arg("at"), a.arg("groups"), a.arg("tmp"), a.gp()
	a.op("LSL", "$2", stride, stride)
	a.op("MOVD", imm(f.side), down)
	a.op("MUL", stride, down, down) // from one row of points to the next
	a.op("LSL", "$2", pitch, pitch)
	a.op("SUB", scaled(skip), x)
	a.times(groups, func() {
		p := a.gp()
		a.op("MOVD.P", mem(at, 8), p)
		a.op("ADD", scaled(p), x, p)
		for row := range f.side {
			a.scope(func() {
				for j, y := range f.forward(a, k, a.cut(f, p)) {
					a.op("FMOVQ", y[0].f(), mem(tmp, 16*(row*f.side+j)))
				}
			})
			if row < f.side-1 {
				a.op("ADD", pitch, p)
			}
		}
		column := a.gp()
		a.op("MOVD", to, column)
		for j := range f.side {
			a.scope(func() {
				y := f.forward(a, k, a.fetch(tmp, f.side, j, f.side))
				a.op("MOVD", column, p)
				for i := range y {
					a.op("FMOVQ", y[i][0].f(), mem(p, 0))
					if i < f.side-1 {
						a.op("ADD", down, p)
					}
				}
			})
			a.op("ADD", stride, column)
		}
		a.op("ADD", "$16", to)
	})
	a.ret()
}

func (a *asm) tileOut(f transform, add bool) {
	a.function(variant(fmt.Sprintf("tileOut%dx", f.size), add)+"Neon", "(y *float32, width int, at *int, groups int, m *float32, stride int, tmp, bias, add *float32)", "is transforms.out, for runs of four tiles.")
	k := a.vecs(2)
	if f.size == 4 {
		a.constants("$neonWinograd<>(SB)", k)
	}
	y, width, at, groups := a.arg("y"), a.arg("width"), a.arg("at"), a.arg("groups")
	m, stride, tmp, down := a.arg("m"), a.arg("stride"), a.arg("tmp"), a.gp()
	bias := a.vecs(1)
	a.scope(func() { a.op("VLD1R", fmt.Sprintf("(%v)", a.arg("bias")), fmt.Sprintf("[%s]", bias[0].s4())) })
	var also gp
	if add {
		also = a.arg("add")
	}
	a.op("LSL", "$2", stride, stride)
	a.op("MOVD", imm(f.side), down)
	a.op("MUL", stride, down, down)
	a.op("LSL", "$2", width, width)
	a.times(groups, func() {
		p, column := a.gp(), a.gp()
		a.op("MOVD", m, column)
		for j := range f.side {
			a.scope(func() {
				in := a.vecs(f.side)
				a.op("MOVD", column, p)
				for i, r := range in {
					a.op("FMOVQ", mem(p, 0), r.f())
					if i < f.side-1 {
						a.op("ADD", down, p)
					}
				}
				for r, out := range f.back(a, k, split(in)) {
					a.op("FMOVQ", out[0].f(), mem(tmp, 16*(r*f.side+j)))
				}
			})
			a.op("ADD", stride, column)
		}
		from := a.gp()
		a.op("MOVD.P", mem(at, 8), p)
		if add {
			a.op("ADD", scaled(p), also, from)
		}
		a.op("ADD", scaled(p), y, p)
		for r := range f.size {
			a.scope(func() {
				var row vecs
				for _, v := range f.back(a, k, a.fetch(tmp, f.side, r*f.side, 1)) {
					row = append(row, v...)
				}
				a.fadd(row, row, bias)
				if add {
					old := a.vecs(f.size)
					a.interleaved(old, from, false)
					a.fadd(row, row, old)
				}
				a.interleaved(row, p, true)
			})
			if r < f.size-1 {
				a.op("ADD", width, p)
				if add {
					a.op("ADD", width, from)
				}
			}
		}
		a.op("ADD", "$16", m)
	})
	a.ret()
}
