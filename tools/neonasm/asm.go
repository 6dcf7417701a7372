package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"slices"
	"strings"
)

// gp is a general register, vec a vector register of four float32.
type (
	gp  int
	vec int
)

func (r gp) String() string { return fmt.Sprintf("R%d", int(r)) }

// s4 and f are the names of a vector register in instructions on its four lanes
// and in loads and stores.
func (r vec) s4() string { return fmt.Sprintf("V%d.S4", int(r)) }
func (r vec) f() string  { return fmt.Sprintf("F%d", int(r)) }

// vecs is registers that are worked on in step, so that the processor has
// independent instructions side by side. A single one stands for all.
type vecs []vec

func (v vecs) at(i int) vec { return v[i%len(v)] }

// lane is one float32 of a register.
type lane struct {
	v vec
	i int
}

// param is where a parameter lies in the frame.
type param struct {
	offset int
	kind   string
}

// asm is the assembly being written.
type asm struct {
	text, stubs bytes.Buffer
	// Of the function being written:
	params map[string]param
	freeGP []gp
	freeV  []vec
	loops  int
}

// function starts a function of the package: its header, its parameters by name
// and all registers free. R18 is the platform's, R27 to R30 are Go's; R16 and R17
// are the linker's.
func (a *asm) function(name, signature, doc string) {
	expr, err := parser.ParseExpr("func" + signature)
	if err != nil {
		panic(err)
	}
	f := expr.(*ast.FuncType)
	a.params = map[string]param{}
	size := 0
	place := func(name string, t ast.Expr) {
		width, kind := 8, "pointer or int"
		if id, ok := t.(*ast.Ident); ok && id.Name != "int" {
			kind, width = id.Name, map[string]int{"float32": 4, "bool": 1}[id.Name]
		}
		size = (size + width - 1) / width * width
		a.params[name] = param{size, kind}
		size += width
	}
	for _, field := range f.Params.List {
		for _, n := range field.Names {
			place(n.Name, field.Type)
		}
	}
	if f.Results != nil {
		size = (size + 7) / 8 * 8
		place("ret", f.Results.List[0].Type)
	}
	a.freeGP, a.freeV = nil, nil
	for r := range gp(27) {
		if r < 16 || r > 18 {
			a.freeGP = append(a.freeGP, r)
		}
	}
	for r := range vec(32) {
		a.freeV = append(a.freeV, r)
	}
	a.loops = 0
	fmt.Fprintf(&a.stubs, "\n// %s %s\n//\n//go:noescape\nfunc %s%s\n", name, doc, name, signature)
	fmt.Fprintf(&a.text, "\n// func %s%s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, signature, name, size)
}

// table writes read-only float32 values and gives their address.
func (a *asm) table(name string, values []float32) string {
	for i, v := range values {
		fmt.Fprintf(&a.text, "%sDATA %s<>+%d(SB)/4, $0x%08x // %v\n", strings.Repeat("\n", max(0, 1-i)), name, 4*i, bits(v), v)
	}
	fmt.Fprintf(&a.text, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n", name, 4*len(values))
	return "$" + name + "<>(SB)"
}

// op writes an instruction.
func (a *asm) op(name string, operands ...any) {
	s := make([]string, len(operands))
	for i, o := range operands {
		s[i] = fmt.Sprint(o)
	}
	fmt.Fprintf(&a.text, "\t%s\t%s\n", name, strings.Join(s, ", "))
}

// label writes a label.
func (a *asm) label(name string) { fmt.Fprintf(&a.text, "%s:\n", name) }

func (a *asm) ret() { a.text.WriteString("\tRET\n") }

// imm returns an immediate operand, mem an address, post one that is advanced after use.
func imm(n int) string          { return fmt.Sprintf("$%d", n) }
func mem(base gp, d int) string { return fmt.Sprintf("%d(%v)", d, base) }

// scaled returns a register times 4, as an offset of float32 values.
func scaled(r gp) string { return fmt.Sprintf("%v<<2", r) }

func (a *asm) gp() gp {
	r := a.freeGP[0]
	a.freeGP = a.freeGP[1:]
	return r
}

// arg returns a parameter in a register.
func (a *asm) arg(name string) gp {
	p, ok := a.params[name]
	if !ok {
		panic("no parameter " + name)
	}
	r, load := a.gp(), "MOVD"
	if p.kind == "bool" {
		load = "MOVBU"
	}
	a.op(load, fmt.Sprintf("%s+%d(FP)", name, p.offset), r)
	return r
}

// vecs takes n registers that follow one another, as loads and stores of several
// want them.
func (a *asm) vecs(n int) vecs {
	for i := range a.freeV {
		if i+n <= len(a.freeV) && a.freeV[i+n-1] == a.freeV[i]+vec(n-1) {
			taken := slices.Clone(a.freeV[i : i+n])
			a.freeV = slices.Delete(slices.Clone(a.freeV), i, i+n)
			return taken
		}
	}
	panic("no vector registers left")
}

func (a *asm) vec() vec { return a.vecs(1)[0] }

// free gives registers back.
func (a *asm) free(all ...vecs) {
	a.freeV = slices.Clone(a.freeV)
	for _, v := range all {
		a.freeV = append(a.freeV, v...)
	}
	slices.Sort(a.freeV)
}

// scope gives back at its end what body takes.
func (a *asm) scope(body func()) {
	g, v := a.freeGP, a.freeV
	body()
	a.freeGP, a.freeV = g, v
}

// loop writes body for every so many of the n elements that are left.
func (a *asm) loop(n gp, step int, body func()) {
	a.loops++
	again, done := fmt.Sprintf("loop%d", a.loops), fmt.Sprintf("done%d", a.loops)
	a.op("CMP", imm(step), n)
	a.op("BLT", done)
	a.label(again)
	a.scope(body)
	a.op("SUB", imm(step), n)
	a.op("CMP", imm(step), n)
	a.op("BGE", again)
	a.label(done)
}

// times writes body n times, n being above 0; n ends as 0.
func (a *asm) times(n gp, body func()) {
	a.loops++
	again := fmt.Sprintf("loop%d", a.loops)
	a.label(again)
	a.scope(body)
	a.op("SUBS", imm(1), n, n)
	a.op("BNE", again)
}

// load reads so many values and advances p where step says so. Of a single value
// the other lanes are 0.
func (a *asm) load(p gp, values int, advance bool) vecs {
	v := a.vecs((values + 3) / 4)
	a.move(v, p, values, advance, func(op string, v vecs, m string) {
		if len(v) == 2 {
			a.op(op, m, fmt.Sprintf("(%s, %s)", v[0].f(), v[1].f()))
		} else {
			a.op(op, m, v[0].f())
		}
	}, "FLD")
	return v
}

// store writes so many values and advances p.
func (a *asm) store(v vecs, p gp, values int) {
	a.move(v, p, values, true, func(op string, v vecs, m string) {
		if len(v) == 2 {
			a.op(op, fmt.Sprintf("(%s, %s)", v[0].f(), v[1].f()), m)
		} else {
			a.op(op, v[0].f(), m)
		}
	}, "FST")
}

// move writes loads or stores of pairs, of one register, or of one value.
func (a *asm) move(v vecs, p gp, values int, advance bool, one func(op string, v vecs, m string), pair string) {
	at := 0
	step := func(op string, v vecs, bytes int) {
		if advance {
			one(op+".P", v, mem(p, bytes))
		} else {
			one(op, v, mem(p, at))
		}
		at += bytes
	}
	if values == 1 {
		step("FMOVS", v, 4)
		return
	}
	for len(v) >= 2 {
		step(pair+"PQ", v[:2], 32)
		v = v[2:]
	}
	if len(v) > 0 {
		step("FMOVQ", v, 16)
	}
}
