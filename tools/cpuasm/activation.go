package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// expConstants are those of exp32 in generic.go.
var expConstants = []struct {
	name  string
	value uint32
}{
	{"high", bits(88.37626)},
	{"low", bits(-87.33654)},
	{"log2e", bits(math.Log2E)},
	{"ln2High", bits(0.693359375)},
	{"ln2Low", bits(-2.12194440e-4)},
	{"e5", bits(1.9875691500e-4)},
	{"e4", bits(1.3981999507e-3)},
	{"e3", bits(8.3334519073e-3)},
	{"e2", bits(4.1665795894e-2)},
	{"e1", bits(1.6666665459e-1)},
	{"e0", bits(5.0000001201e-1)},
	{"one", bits(1)},
	{"two", bits(2)},
	{"bias", 127},
}

func bits(f float32) uint32 { return math.Float32bits(f) }

var constantData = map[string]Mem{}

// constant is 8 equal lanes in memory.
func constant(name string, value uint32) Mem {
	m, ok := constantData[name]
	if !ok {
		m = GLOBL("const_"+name, RODATA|NOPTR)
		for i := range 8 {
			DATA(4*i, U32(value))
		}
		constantData[name] = m
	}
	return m
}

// useExp makes the constants of exp known: registers with AVX-512, memory with
// AVX2, which has too few.
func (v *isa) useExp() {
	for _, c := range expConstants {
		m := constant(c.name, c.value)
		if v.wide() && c.name != "bias" {
			v.constants[c.name] = v.broadcast(m)
		} else {
			v.constants[c.name] = m
		}
	}
}

// constant in a register that may be overwritten.
func (v *isa) copyOf(name string) reg.VecVirtual {
	r := v.vec()
	VMOVUPS(v.constants[name], r)
	return r
}

// exp is e^x; x is overwritten. A NaN stays one: minimum and maximum return
// their second source when either is.
func (v *isa) exp(x reg.VecVirtual) reg.VecVirtual {
	k := v.constants
	t, low, n := v.copyOf("high"), v.copyOf("low"), v.vec()
	VMINPS(x, t, t)
	VMAXPS(t, low, t)
	VMULPS(k["log2e"], t, n)
	if v.wide() {
		VRNDSCALEPS(Imm(8), n, n)
	} else {
		VROUNDPS(Imm(8), n, n)
	}
	VFNMADD231PS(k["ln2High"], n, t)
	VFNMADD231PS(k["ln2Low"], n, t)
	p := v.copyOf("e5")
	for _, e := range []string{"e4", "e3", "e2", "e1", "e0"} {
		VFMADD213PS(k[e], t, p)
	}
	square := v.vec()
	VMULPS(t, t, square)
	VFMADD213PS(t, square, p)
	VADDPS(k["one"], p, p)
	if v.wide() {
		VSCALEFPS(n, p, p)
		return p
	}
	VCVTPS2DQ(n, n)
	VPADDD(k["bias"], n, n)
	VPSLLD(Imm(23), n, n)
	VMULPS(n, p, p)
	return p
}

// sigmoid is 1/(1 + e^−z).
func (v *isa) sigmoid(z reg.VecVirtual) reg.VecVirtual {
	minus := v.zero()
	VSUBPS(z, minus, minus)
	e := v.exp(minus)
	VADDPS(v.constants["one"], e, e)
	if !v.wide() {
		g := v.copyOf("one")
		VDIVPS(e, g, g)
		return g
	}
	// A step of Newton on 14 bits is less work than a division: g ← g + g(1 − e·g).
	g, rest := v.vec(), v.copyOf("one")
	VRCP14PS(e, g)
	VFNMADD231PS(e, g, rest)
	VFMADD231PS(rest, g, g)
	return g
}

// activations writes the kernels with exp.
func (v *isa) activations() {
	v.function("exp", "(dst, x []float32, scale, shift float32)", "is kernels.exp.")
	v.useExp()
	scale, shift := v.param("scale"), v.param("shift")
	v.each([]string{"dst", "x"}, func(at func(string) Mem, m *mask) {
		x := v.load(at("x"), m)
		VFMADD213PS(shift, scale, x)
		v.store(v.exp(x), at("dst"), m)
	})
	finish()

	v.function("silu", "(dst, x []float32, k *float32)", "is kernels.silu.")
	v.useExp()
	k := v.coefficients("mu", "m", "c")
	v.each([]string{"dst", "x"}, func(at func(string) Mem, m *mask) {
		z := v.load(at("x"), m)
		VSUBPS(k("mu"), z, z)
		VFMADD213PS(k("c"), k("m"), z)
		VMULPS(v.sigmoid(z), z, z)
		v.store(z, at("dst"), m)
	})
	finish()

	for _, add := range []bool{false, true} {
		v.function(variant("tangent", add), "(dst, x, a []float32, k *float32)", "is kernels.tangent.")
		v.useExp()
		k := v.coefficients("mu", "m", "c")
		v.each([]string{"dst", "x", "a"}, func(at func(string) Mem, m *mask) {
			c, z, g, slope := v.slope(k, at, m)
			VFMADD213PS(g, z, slope) // silu′ = g + z·g(1 − g)
			VFMADD213PS(k("s"), k("q"), c)
			VFMADD231PS(k("p"), v.load(at("a"), m), c)
			if add {
				VFMADD213PS(v.load(at("dst"), m), slope, c)
			} else {
				VMULPS(slope, c, c)
			}
			v.store(c, at("dst"), m)
		})
		finish()
	}

	v.function("second", "(dst, x, a, b, ab []float32, k *float32)", "is kernels.second.")
	v.useExp()
	k = v.coefficients("mu", "m", "c")
	v.each([]string{"dst", "x", "a", "b", "ab"}, func(at func(string) Mem, m *mask) {
		c, z, g, h := v.slope(k, at, m)
		bend, one := v.copyOf("two"), v.copyOf("one")
		VFNMADD231PS(v.constants["two"], g, one) // 1 − 2g
		VFMADD231PS(one, z, bend)
		VMULPS(h, bend, bend) // silu″ = h·(2 + z(1 − 2g))
		VFMADD213PS(g, z, h)  // silu′ = g + z·h
		a, b, ab := v.load(at("a"), m), v.load(at("b"), m), v.load(at("ab"), m)
		mixed := k("shift")
		VFMADD231PS(k("wc"), c, mixed)
		VFMADD231PS(k("wb"), b, mixed)
		VFMADD231PS(k("wa"), a, mixed)
		VFMADD231PS(k("w"), ab, mixed)
		za := k("s")
		VFMADD231PS(k("q"), c, za)
		VFMADD231PS(k("p"), a, za)
		zb := k("sb")
		VFMADD231PS(k("qb"), c, zb)
		VFMADD231PS(k("pb"), b, zb)
		VMULPS(za, zb, za)
		VMULPS(h, mixed, mixed)
		VFMADD231PS(bend, za, mixed)
		v.store(mixed, at("dst"), m)
	})
	finish()
}

// jet writes the kernel of both coefficients along one direction.
func (v *isa) jet() {
	v.function("jet", "(first, dst, x, a, ab []float32, k *float32)", "is kernels.jet.")
	v.useExp()
	k := v.coefficients("mu", "m", "c")
	v.each([]string{"dst", "first", "x", "a", "ab"}, func(at func(string) Mem, m *mask) {
		c, z, g, h := v.slope(k, at, m)
		bend, one := v.copyOf("two"), v.copyOf("one")
		VFNMADD231PS(v.constants["two"], g, one) // 1 − 2g
		VFMADD231PS(one, z, bend)
		VMULPS(h, bend, bend) // silu″ = h·(2 + z(1 − 2g))
		VFMADD213PS(g, z, h)  // silu′ = g + z·h
		a, ab := v.load(at("a"), m), v.load(at("ab"), m)
		mixed := k("shift")
		VFMADD231PS(k("wc"), c, mixed)
		VFMADD231PS(k("wb"), a, mixed)
		VFMADD231PS(k("wa"), a, mixed)
		VFMADD231PS(k("w"), ab, mixed)
		za := k("s")
		VFMADD231PS(k("q"), c, za)
		VFMADD231PS(k("p"), a, za)
		first := v.vec()
		VMULPS(h, za, first)
		v.store(first, at("first"), m)
		VMULPS(za, za, za)
		VMULPS(h, mixed, mixed)
		VFMADD231PS(bend, za, mixed)
		v.store(mixed, at("dst"), m)
	})
	finish()
}

// slope is c = x − mu, z = m·c + c₀, g = σ(z) and h = g(1 − g).
func (v *isa) slope(k func(string) reg.VecVirtual, at func(string) Mem, m *mask) (c, z, g, h reg.VecVirtual) {
	c, z, h = v.load(at("x"), m), v.vec(), v.vec()
	VSUBPS(k("mu"), c, c)
	VMOVAPS(c, z)
	VFMADD213PS(k("c"), k("m"), z)
	g = v.sigmoid(z)
	VMOVAPS(g, h)
	VFNMADD231PS(g, g, h)
	return c, z, g, h
}
