package main

import (
	"fmt"
	"math"
)

func bits(f float32) uint32 { return math.Float32bits(f) }

// Go's assembler lacks most floating-point instructions on vectors: these are
// written as words, with the mnemonic beside each. A test compares them with what
// another assembler makes of the mnemonics.

// word writes an instruction by its encoding.
func (a *asm) word(code uint32, mnemonic string, operands ...any) {
	fmt.Fprintf(&a.text, "\tWORD\t$0x%08x // %s\n", code, fmt.Sprintf(mnemonic, operands...))
}

func (a *asm) binary(code uint32, name string, d, x, y vecs) {
	for i := range d {
		d, n, m := d[i], x.at(i), y.at(i)
		a.word(code|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.4s, v%d.4s", name, d, n, m)
	}
}

func (a *asm) unary(code uint32, name string, d, x vecs) {
	for i := range d {
		d, n := d[i], x.at(i)
		a.word(code|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.4s", name, d, n)
	}
}

func (a *asm) byLane(code uint32, name string, d, x vecs, l lane) {
	code |= uint32(l.i&1)<<21 | uint32(l.i>>1)<<11 | uint32(l.v)<<16
	for i := range d {
		d, n := d[i], x.at(i)
		a.word(code|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.4s, v%d.s[%d]", name, d, n, l.v, l.i)
	}
}

func (a *asm) fadd(d, x, y vecs) { a.binary(0x4e20d400, "fadd", d, x, y) }
func (a *asm) fsub(d, x, y vecs) { a.binary(0x4ea0d400, "fsub", d, x, y) }
func (a *asm) fmul(d, x, y vecs) { a.binary(0x6e20dc00, "fmul", d, x, y) }
func (a *asm) fdiv(d, x, y vecs) { a.binary(0x6e20fc00, "fdiv", d, x, y) }
func (a *asm) fmax(d, x, y vecs) { a.binary(0x4e20f400, "fmax", d, x, y) }
func (a *asm) fmin(d, x, y vecs) { a.binary(0x4e20f400|1<<23, "fmin", d, x, y) }

func (a *asm) fneg(d, x vecs)   { a.unary(0x6ea0f800, "fneg", d, x) }
func (a *asm) frintn(d, x vecs) { a.unary(0x4e218800, "frintn", d, x) }
func (a *asm) fcvtns(d, x vecs) { a.unary(0x4e21a800, "fcvtns", d, x) }

// fmulLane is x·l, fmlaLane adds it to d, fmlsLane subtracts it.
func (a *asm) fmulLane(d, x vecs, l lane) { a.byLane(0x4f809000, "fmul", d, x, l) }
func (a *asm) fmlaLane(d, x vecs, l lane) { a.byLane(0x4f801000, "fmla", d, x, l) }
func (a *asm) fmlsLane(d, x vecs, l lane) { a.byLane(0x4f805000, "fmls", d, x, l) }

// fone is 1 in all lanes.
func (a *asm) fone(d vec) { a.word(0x4f03f600|uint32(d), "fmov v%d.4s, #1.0", d) }

// faddp returns the sums of neighbours, of x and then of y.
func (a *asm) faddp(d, x, y vec) { a.binary(0x6e20d400, "faddp", vecs{d}, vecs{x}, vecs{y}) }

// first keeps the first lane and zeroes the others.
func (a *asm) first(d vec) { a.op("FMOVS", d.f(), d.f()) }

// What follows Go's assembler knows.

// fmla adds x·y to d, fmls subtracts it.
func (a *asm) fmla(d, x, y vecs) { a.lanes("VFMLA", d, x, y) }
func (a *asm) fmls(d, x, y vecs) { a.lanes("VFMLS", d, x, y) }

// add returns the sum of integers.
func (a *asm) add(d, x, y vecs) { a.lanes("VADD", d, x, y) }

func (a *asm) lanes(name string, d, x, y vecs) {
	for i := range d {
		a.op(name, y.at(i).s4(), x.at(i).s4(), d[i].s4())
	}
}

func (a *asm) shl(d, x vecs, n int) {
	for i := range d {
		a.op("VSHL", imm(n), x.at(i).s4(), d[i].s4())
	}
}

// dup is a lane in all lanes.
func (a *asm) dup(d vecs, l lane) {
	for _, d := range d {
		a.op("VDUP", fmt.Sprintf("V%d.S[%d]", l.v, l.i), d.s4())
	}
}

func (a *asm) mov(d, x vecs) {
	for i := range d {
		a.op("VMOV", fmt.Sprintf("V%d.B16", x.at(i)), fmt.Sprintf("V%d.B16", d[i]))
	}
}

func (a *asm) zero(d vecs) {
	for _, d := range d {
		a.op("VMOVI", "$0", fmt.Sprintf("V%d.B16", d))
	}
}

// shift is x without its first lane, followed by the first of next.
func (a *asm) shift(d, x, next vec) {
	a.op("VEXT", "$4", fmt.Sprintf("V%d.B16", next), fmt.Sprintf("V%d.B16", x), fmt.Sprintf("V%d.B16", d))
}
