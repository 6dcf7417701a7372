package main

import (
	"fmt"
	"math"
	"slices"
)

// exponential is the constants of exp32 in generic.go: factors and summands by
// lane, bounds and one in all lanes.
type exponential struct {
	packed         vecs
	high, low, one vecs
}

var (
	expNames  = []string{"log2e", "ln2High", "ln2Low", "e5", "e4", "e3", "e2", "e1", "e0", "two", "high", "low"}
	expValues = []float32{math.Log2E, 0.693359375, -2.12194440e-4, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
		4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 2, 88.37626, -87.33654}
)

func (e *exponential) lane(name string) lane {
	i := slices.Index(expNames, name)
	return lane{e.packed[i/4], i % 4}
}

// useExp loads the constants of exp.
func (a *asm) useExp() *exponential {
	e := &exponential{a.vecs(3), a.vecs(1), a.vecs(1), a.vecs(1)}
	a.constants("$neonExp<>(SB)", e.packed)
	a.dup(e.high, e.lane("high"))
	a.dup(e.low, e.lane("low"))
	a.fone(e.one[0])
	return e
}

// constants loads a table.
func (a *asm) constants(address string, v vecs) {
	a.scope(func() {
		p := a.gp()
		a.op("MOVD", address, p)
		for i, r := range v {
			a.op("FMOVQ", mem(p, 16*i), r.f())
		}
	})
}

// exp makes x e^x. A NaN stays one.
func (a *asm) exp(e *exponential, x vecs) {
	n, p, q := a.vecs(len(x)), a.vecs(len(x)), a.vecs(len(x))
	a.fmin(x, x, e.high)
	a.fmax(x, x, e.low)
	a.fmulLane(n, x, e.lane("log2e"))
	a.frintn(n, n)
	a.fmlsLane(x, n, e.lane("ln2High"))
	a.fmlsLane(x, n, e.lane("ln2Low"))
	a.dup(p, e.lane("e5"))
	for _, next := range []string{"e4", "e3", "e2", "e1", "e0"} {
		a.dup(q, e.lane(next))
		a.fmla(q, p, x)
		p, q = q, p
	}
	a.fmul(q, x, x)
	a.fmla(x, p, q)
	a.fadd(x, x, e.one)
	a.fcvtns(n, n)
	a.shl(n, n, 23)
	a.add(n, n, e.one) // 2ⁿ: the bits of 1 with n added to the exponent
	a.fmul(x, x, n)
	a.free(n, p, q)
}

// sigmoid is 1/(1 + e^−z).
func (p *piece) sigmoid(e *exponential, z vecs) vecs {
	g := p.regs()
	p.fneg(g, z)
	p.exp(e, g)
	p.fadd(g, g, e.one)
	p.fdiv(g, e.one, g)
	return g
}

// activations writes the kernels with exp.
func (a *asm) activations() {
	a.table("neonExp", expValues)

	a.function("expNeon", "(dst, x *float32, n int, scale, shift float32)", "is kernels.exp.")
	e := a.useExp()
	scale, shift := vecs{a.broadcast("scale")}, vecs{a.broadcast("shift")}
	a.each([]string{"dst", "x"}, func(p *piece) vecs {
		t := p.regs()
		p.mov(t, shift)
		p.fmla(t, p.get("x"), scale)
		p.exp(e, t)
		return t
	})

	a.function("siluNeon", "(dst, x *float32, n int, k *act)", "is kernels.silu.")
	e, k := a.useExp(), a.coefficients()
	a.each([]string{"dst", "x"}, func(p *piece) vecs {
		_, z := p.affine(k)
		p.fmul(z, z, p.sigmoid(e, z))
		return z
	})

	for _, add := range []bool{false, true} {
		a.function(variant("tangent", add)+"Neon", "(dst, x, a *float32, n int, k *act)", "is kernels.tangent.")
		e, k := a.useExp(), a.coefficients()
		a.each([]string{"dst", "x", "a"}, func(p *piece) vecs {
			c, z, g, h := p.slope(e, k)
			p.fmla(g, z, h) // silu′ = g + z·h
			t := p.regs()
			p.combine(t, k, "s", "q", c, "p", p.get("a"))
			if !add {
				p.fmul(t, t, g)
				return t
			}
			d := p.old()
			p.fmla(d, t, g)
			return d
		})
	}

	a.function("secondNeon", "(dst, x, a, b, ab *float32, n int, k *act)", "is kernels.second.")
	e, k = a.useExp(), a.coefficients()
	a.each([]string{"dst", "x", "a", "b", "ab"}, func(p *piece) vecs {
		c, z, g, h := p.slope(e, k)
		bend, t := p.regs(), p.regs()
		p.mov(t, e.one)
		p.fmlsLane(t, g, e.lane("two")) // 1 − 2g
		p.dup(bend, e.lane("two"))
		p.fmla(bend, z, t)
		p.fmul(bend, bend, h) // silu″ = h·(2 + z(1 − 2g))
		p.fmla(g, z, h)       // silu′ = g + z·h
		p.free(z, h, t)
		x, y, xy := p.get("a"), p.get("b"), p.get("ab")
		mixed := p.regs()
		p.combine(mixed, k, "shift", "wc", c, "wb", y, "wa", x, "w", xy)
		p.free(xy)
		za, zb := p.regs(), p.regs()
		p.combine(za, k, "s", "q", c, "p", x)
		p.combine(zb, k, "sb", "qb", c, "pb", y)
		p.fmul(za, za, zb)
		p.fmul(mixed, mixed, g)
		p.fmla(mixed, za, bend)
		return mixed
	})
}

// slope is c = x − mu, z = m·c + c₀, g = σ(z) and h = g(1 − g).
func (p *piece) slope(e *exponential, k *coefficients) (c, z, g, h vecs) {
	c, z = p.affine(k)
	g, h = p.sigmoid(e, z), p.regs()
	p.mov(h, g)
	p.fmls(h, g, g)
	return c, z, g, h
}

// columns writes softmax and centre, which run down the columns of a matrix, 8
// columns at a time.
func (a *asm) columns() {
	a.function("softmaxNeon", "(s, top, sum *float32, rows, ld int)", "is kernels.softmax.")
	e := a.useExp()
	a.down([]string{"s", "top", "sum"}, func(at map[string]gp, rows func(func(p gp))) {
		top := a.load(at["s"], 8, false)
		rows(func(p gp) { a.fmax(top, top, a.load(p, 8, false)) })
		a.store(top, at["top"], 8)
		sum := a.vecs(2)
		a.zero(sum)
		rows(func(p gp) {
			x := a.load(p, 8, false)
			a.fsub(x, x, top)
			a.exp(e, x)
			a.fadd(sum, sum, x)
			a.put(x, p)
		})
		a.store(sum, at["sum"], 8)
		a.fdiv(sum, e.one, sum)
		rows(func(p gp) {
			x := a.load(p, 8, false)
			a.fmul(x, x, sum)
			a.put(x, p)
		})
	})

	a.function("centreNeon", "(s, p, mean *float32, rows, ld int)", "is kernels.centre.")
	a.down([]string{"s", "p", "mean"}, func(at map[string]gp, rows func(func(p gp))) {
		sum := a.vecs(2)
		a.zero(sum)
		step, other := a.gp(), a.gp()
		a.op("MOVD", fmt.Sprintf("ld+%d(FP)", a.params["ld"].offset), step)
		a.op("MOVD", at["p"], other)
		rows(func(p gp) {
			a.fmla(sum, a.load(p, 8, false), a.load(other, 8, false))
			a.op("ADD", scaled(step), other)
		})
		a.op("ADD", "$32", at["p"])
		a.store(sum, at["mean"], 8)
		rows(func(p gp) {
			x := a.load(p, 8, false)
			a.fsub(x, x, sum)
			a.put(x, p)
		})
	})
}

// put stores 8 values where they were loaded.
func (a *asm) put(v vecs, p gp) {
	a.op("FSTPQ", fmt.Sprintf("(%s, %s)", v[0].f(), v[1].f()), mem(p, 0))
}

// down writes body for every 8 columns. rows writes a loop over the rows of the
// first parameter, whose pointer is moved on here; the others' the body moves.
func (a *asm) down(names []string, body func(at map[string]gp, rows func(func(p gp)))) {
	at := map[string]gp{}
	for _, name := range names {
		at[name] = a.arg(name)
	}
	count, left, step := a.arg("rows"), a.arg("ld"), a.gp()
	a.op("LSL", "$2", left, step)
	a.loop(left, 8, func() {
		body(at, func(row func(p gp)) {
			a.scope(func() {
				p, n := a.gp(), a.gp()
				a.op("MOVD", at[names[0]], p)
				a.op("MOVD", count, n)
				a.times(n, func() {
					row(p)
					a.op("ADD", step, p)
				})
			})
		})
		a.op("ADD", "$32", at[names[0]])
	})
	a.ret()
}
