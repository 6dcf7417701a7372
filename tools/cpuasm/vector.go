package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// reductions writes the kernels of sums over all values.
func (v *isa) reductions() {
	v.function("sum", "(x []float32) float32", "is kernels.sum.")
	v.reduce([]string{"x"}, 1, 4, func(acc []reg.VecVirtual, at func(string) Mem, m *mask) {
		VADDPS(v.load(at("x"), m), acc[0], acc[0])
	})
	v.function("cdot", "(x, y []float32, mx, my float32) float32", "is kernels.cdot.")
	mx, my := v.param("mx"), v.param("my")
	v.reduce([]string{"x", "y"}, 1, 4, func(acc []reg.VecVirtual, at func(string) Mem, m *mask) {
		x, y := v.centred(at("x"), mx, m), v.load(at("y"), m)
		VSUBPS(my, y, y)
		VFMADD231PS(x, y, acc[0])
	})
	v.function("sums", "(s *float32, a, b []float32)", "is kernels.sums.")
	v.reduce([]string{"a", "b"}, 2, 4, func(acc []reg.VecVirtual, at func(string) Mem, m *mask) {
		VADDPS(v.load(at("a"), m), acc[0], acc[0])
		VADDPS(v.load(at("b"), m), acc[1], acc[1])
	})
	v.function("dots", "(s *float32, x, a, b []float32, k *float32)", "is kernels.dots.")
	k := Load(Param("k"), GP64())
	mx, ma, mb := v.broadcast(Mem{Base: k}), v.broadcast(Mem{Base: k, Disp: 4}), v.broadcast(Mem{Base: k, Disp: 8})
	v.reduce([]string{"x", "a", "b"}, 3, 2, func(acc []reg.VecVirtual, at func(string) Mem, m *mask) {
		x, a, b := v.centred(at("x"), mx, m), v.centred(at("a"), ma, m), v.load(at("b"), m)
		VSUBPS(mb, b, b)
		VFMADD231PS(x, a, acc[0])
		VFMADD231PS(x, b, acc[1])
		VFMADD231PS(a, a, acc[2])
	})
}

// centred is values less their mean, zero outside the mask.
func (v *isa) centred(from Mem, mean reg.Register, m *mask) reg.VecVirtual {
	x := v.load(from, m)
	VSUBPS(mean, x, x)
	v.keep(x, m)
	return x
}

// reduce writes a loop that adds to so many sums, unrolled, and stores them: a
// single one is the result, several go where the parameter s points.
func (v *isa) reduce(slices []string, sums, unroll int, add func(acc []reg.VecVirtual, at func(string) Mem, m *mask)) {
	n := Load(Param(slices[0]).Len(), GP64()).(reg.GPVirtual)
	base := map[string]reg.Register{}
	for _, s := range slices {
		base[s] = Load(Param(s).Base(), GP64())
	}
	acc := make([][]reg.VecVirtual, unroll)
	for i := range acc {
		for range sums {
			acc[i] = append(acc[i], v.zero())
		}
	}
	i := GP64()
	at := func(k int) func(string) Mem {
		return func(name string) Mem { return Mem{Base: base[name], Index: i, Scale: 4, Disp: 4 * k * v.lanes} }
	}
	loop := func(label, exit string, vectors int) {
		Label(label)
		CMPQ(n, Imm(uint64(vectors*v.lanes)))
		JL(LabelRef(exit))
		for k := range vectors {
			add(acc[k], at(k), nil)
		}
		ADDQ(Imm(uint64(vectors*v.lanes)), i)
		SUBQ(Imm(uint64(vectors*v.lanes)), n)
		JMP(LabelRef(label))
	}
	XORQ(i, i)
	loop("several", "singles", unroll)
	loop("singles", "tail", 1)
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	add(acc[1], at(0), v.rest(n))
	Label("done")
	for half := unroll / 2; half > 0; half /= 2 {
		for k := range half {
			for s := range sums {
				VADDPS(acc[k+half][s], acc[k][s], acc[k][s])
			}
		}
	}
	if sums == 1 {
		Store(v.horizontal(acc[0][0]), ReturnIndex(0))
	} else {
		to := Load(Param("s"), GP64())
		for s, a := range acc[0] {
			VMOVSS(v.horizontal(a), Mem{Base: to, Disp: 4 * s})
		}
	}
	finish()
}

// panel writes the product of 8 interleaved rows and a vector, eight lanes wide
// in both instruction sets, four elements at a time.
func (v *isa) panel() {
	v.function("panel", "(dst, a, x []float32)", "is kernels.panel.")
	a, x := Load(Param("a").Base(), GP64()), Load(Param("x").Base(), GP64())
	n := Load(Param("x").Len(), GP64())
	acc := make([]reg.VecVirtual, 4)
	for i := range acc {
		acc[i] = YMM()
		VXORPS(acc[i], acc[i], acc[i])
	}
	loop := func(label, exit string, count int) {
		Label(label)
		CMPQ(n, Imm(uint64(count)))
		JL(LabelRef(exit))
		for i := range count {
			e := YMM()
			VBROADCASTSS(Mem{Base: x, Disp: 4 * i}, e)
			VFMADD231PS(Mem{Base: a, Disp: 32 * i}, e, acc[i])
		}
		ADDQ(Imm(uint64(4*count)), x)
		ADDQ(Imm(uint64(32*count)), a)
		SUBQ(Imm(uint64(count)), n)
		JMP(LabelRef(label))
	}
	loop("fours", "ones", 4)
	loop("ones", "done", 1)
	Label("done")
	VADDPS(acc[2], acc[0], acc[0])
	VADDPS(acc[3], acc[1], acc[1])
	VADDPS(acc[1], acc[0], acc[0])
	VMOVUPS(acc[0], Mem{Base: Load(Param("dst").Base(), GP64())})
	finish()
}

// horizontal returns the sum of all lanes.
func (v *isa) horizontal(r reg.VecVirtual) reg.VecVirtual {
	y := YMM()
	if v.wide() {
		VEXTRACTF64X4(Imm(1), r, y)
		VADDPS(y, r.AsY(), y)
	} else {
		VMOVAPS(r, y)
	}
	x, t := XMM(), XMM()
	VEXTRACTF128(Imm(1), y, x)
	VADDPS(x, y.AsX(), x)
	VMOVHLPS(x, x, t)
	VADDPS(t, x, x)
	VMOVSHDUP(x, t)
	VADDSS(t, x, x)
	return x
}

// maps writes the elementwise kernels without an activation.
func (v *isa) maps() {
	v.function("mul", "(dst, a, b []float32)", "is kernels.mul.")
	v.each([]string{"dst", "a", "b"}, func(at func(string) Mem, m *mask) {
		a, b := v.load(at("a"), m), v.load(at("b"), m)
		VMULPS(a, b, a)
		v.store(a, at("dst"), m)
	})
	finish()

	v.function("fma", "(dst, a, b []float32)", "is kernels.fma.")
	v.each([]string{"dst", "a", "b"}, func(at func(string) Mem, m *mask) {
		a, b, d := v.load(at("a"), m), v.load(at("b"), m), v.load(at("dst"), m)
		VFMADD231PS(a, b, d)
		v.store(d, at("dst"), m)
	})
	finish()

	v.function("affine", "(dst, x []float32, k *float32)", "is kernels.affine.")
	k := v.coefficients("mu", "m", "c")
	v.each([]string{"dst", "x"}, func(at func(string) Mem, m *mask) {
		x := v.load(at("x"), m)
		VSUBPS(k("mu"), x, x)
		VFMADD213PS(k("c"), k("m"), x)
		v.store(x, at("dst"), m)
	})
	finish()

	for _, add := range []bool{false, true} {
		v.function(variant("linear", add), "(dst, x, a []float32, k *float32)", "is kernels.linear.")
		k := v.coefficients("mu", "p", "q", "s")
		v.each([]string{"dst", "x", "a"}, func(at func(string) Mem, m *mask) {
			x, a := v.load(at("x"), m), v.load(at("a"), m)
			VSUBPS(k("mu"), x, x)
			VFMADD213PS(k("s"), k("q"), x)
			VFMADD231PS(k("p"), a, x)
			if add {
				VADDPS(v.load(at("dst"), m), x, x)
			}
			v.store(x, at("dst"), m)
		})
		finish()
	}
}

// variant names the form of a kernel that adds to its destination.
func variant(name string, add bool) string {
	if add {
		return name + "Add"
	}
	return name
}

// fields are the positions of the members of act.
var fields = []string{"mu", "m", "c", "p", "q", "s", "pb", "qb", "sb", "w", "wa", "wb", "wc", "shift"}

// coefficients gives access to the members of parameter k: the named ones are
// kept in registers, others are read when asked for.
func (v *isa) coefficients(names ...string) func(name string) reg.VecVirtual {
	k := Load(Param("k"), GP64())
	at := func(name string) reg.VecVirtual {
		for i, f := range fields {
			if f == name {
				return v.broadcast(Mem{Base: k, Disp: 4 * i})
			}
		}
		panic("no coefficient " + name)
	}
	kept := map[string]reg.VecVirtual{}
	for _, name := range names {
		kept[name] = at(name)
	}
	return func(name string) reg.VecVirtual {
		if r, ok := kept[name]; ok {
			return r
		}
		return at(name)
	}
}
