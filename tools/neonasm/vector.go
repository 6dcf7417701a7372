package main

import "fmt"

// reductions writes the kernels of sums over all values: four accumulators of each
// hide the additions' latency.
func (a *asm) reductions() {
	a.function("sumNeon", "(x *float32, n int) float32", "is kernels.sum.")
	a.reduce([]string{"x"}, 1, func(acc []vecs, get func(string, vecs) vecs) {
		a.fadd(acc[0], acc[0], get("x", nil))
	})

	a.function("cdotNeon", "(x, y *float32, n int, mx, my float32) float32", "is kernels.cdot.")
	mx, my := vecs{a.broadcast("mx")}, vecs{a.broadcast("my")}
	a.reduce([]string{"x", "y"}, 1, func(acc []vecs, get func(string, vecs) vecs) {
		a.fmla(acc[0], get("x", mx), get("y", my))
	})

	a.function("sumsNeon", "(s, a, b *float32, n int)", "is kernels.sums.")
	a.reduce([]string{"a", "b"}, 2, func(acc []vecs, get func(string, vecs) vecs) {
		a.fadd(acc[0], acc[0], get("a", nil))
		a.fadd(acc[1], acc[1], get("b", nil))
	})

	a.function("dotsNeon", "(s, x, a, b *float32, n int, k *float32)", "is kernels.dots.")
	means := a.vecs(3)
	a.scope(func() {
		k := a.arg("k")
		for i, m := range means {
			a.op("FMOVS", mem(k, 4*i), m.f())
			a.dup(vecs{m}, lane{m, 0})
		}
	})
	a.reduce([]string{"x", "a", "b"}, 3, func(acc []vecs, get func(string, vecs) vecs) {
		x, y, z := get("x", means[:1]), get("a", means[1:2]), get("b", means[2:])
		a.fmla(acc[0], x, y)
		a.fmla(acc[1], x, z)
		a.fmla(acc[2], y, y)
	})
}

// broadcast returns a float32 parameter in all lanes.
func (a *asm) broadcast(name string) vec {
	v := a.vec()
	a.op("FMOVS", fmt.Sprintf("%s+%d(FP)", name, a.params[name].offset), v.f())
	a.dup(vecs{v}, lane{v, 0})
	return v
}

// reduce writes a loop that adds to so many sums, and stores them: a single one is
// the result, several go where the parameter s points. get loads values less
// their mean.
func (a *asm) reduce(arrays []string, sums int, add func(acc []vecs, get func(name string, mean vecs) vecs)) {
	acc := make([]vecs, sums)
	for i := range acc {
		acc[i] = a.vecs(4)
		a.zero(acc[i])
	}
	a.sweep(arrays, []int{16, 4, 1}, func(width int, load func(string) vecs, _ func(string) gp) {
		part := make([]vecs, sums)
		for i := range part {
			part[i] = acc[i][:max(1, width/4)]
		}
		add(part, func(name string, mean vecs) vecs {
			v := load(name)
			if mean != nil {
				a.fsub(v, v, mean)
				if width == 1 { // the other lanes are −mean, not 0
					a.first(v[0])
				}
			}
			return v
		})
	})
	to := gp(0)
	if sums > 1 {
		to = a.arg("s")
	}
	for i, v := range acc {
		a.fadd(v[:2], v[:2], v[2:])
		a.fadd(v[:1], v[:1], v[1:2])
		a.faddp(v[0], v[0], v[0])
		a.faddp(v[0], v[0], v[0])
		if sums > 1 {
			a.op("FMOVS", v[0].f(), mem(to, 4*i))
		} else {
			a.op("FMOVS", v[0].f(), fmt.Sprintf("ret+%d(FP)", a.params["ret"].offset))
		}
	}
	a.ret()
}

// sweep runs body over the n values of the array parameters, in pieces of falling
// widths. get loads the piece of an array and moves on to the next one; at is the
// array's pointer.
func (a *asm) sweep(arrays []string, widths []int, body func(width int, get func(string) vecs, at func(string) gp)) {
	base := map[string]gp{}
	for _, name := range arrays {
		base[name] = a.arg(name)
	}
	n := a.arg("n")
	for _, width := range widths {
		a.loop(n, width, func() {
			body(width, func(name string) vecs { return a.load(base[name], width, true) }, func(name string) gp { return base[name] })
		})
	}
}

// piece is the values that an elementwise kernel works on at a time.
type piece struct {
	*asm
	width int
	get   func(name string) vecs // loads and moves on
	dst   gp
}

// regs is registers for a piece.
func (p *piece) regs() vecs { return p.vecs(max(1, p.width/4)) }

// old loads the destination.
func (p *piece) old() vecs { return p.load(p.dst, p.width, false) }

// each writes a loop over the values of arrays, with two registers in step and
// the rest one by one; the destination comes first and gets what body returns.
func (a *asm) each(arrays []string, body func(p *piece) vecs) {
	a.sweep(arrays, []int{8, 4, 1}, func(width int, get func(string) vecs, at func(string) gp) {
		p := &piece{a, width, get, at(arrays[0])}
		a.store(body(p), p.dst, width)
	})
	a.ret()
}

// panel writes the product of 8 interleaved rows and a vector, four elements at a
// time.
func (a *asm) panel() {
	a.function("panelNeon", "(dst, a, x *float32, n int)", "is kernels.panel.")
	dst, rows, x, n := a.arg("dst"), a.arg("a"), a.arg("x"), a.arg("n")
	acc := a.vecs(8)
	a.zero(acc)
	for _, width := range []int{4, 1} {
		a.loop(n, width, func() {
			e := a.load(x, width, true)
			for i := range width {
				a.fmlaLane(acc[2*i:2*i+2], a.load(rows, 8, true), lane{e[0], i})
			}
		})
	}
	a.fadd(acc[:4], acc[:4], acc[4:])
	a.fadd(acc[:2], acc[:2], acc[2:4])
	a.store(acc[:2], dst, 8)
	a.ret()
}

// maps writes the elementwise kernels without an activation.
func (a *asm) maps() {
	a.function("mulNeon", "(dst, a, b *float32, n int)", "is kernels.mul.")
	a.each([]string{"dst", "a", "b"}, func(p *piece) vecs {
		x := p.get("a")
		p.fmul(x, x, p.get("b"))
		return x
	})

	a.function("fmaNeon", "(dst, a, b *float32, n int)", "is kernels.fma.")
	a.each([]string{"dst", "a", "b"}, func(p *piece) vecs {
		d := p.old()
		p.fmla(d, p.get("a"), p.get("b"))
		return d
	})

	a.function("affineNeon", "(dst, x *float32, n int, k *act)", "is kernels.affine.")
	k := a.coefficients()
	a.each([]string{"dst", "x"}, func(p *piece) vecs {
		_, z := p.affine(k)
		return z
	})

	for _, add := range []bool{false, true} {
		a.function(variant("linear", add)+"Neon", "(dst, x, a *float32, n int, k *act)", "is kernels.linear.")
		k := a.coefficients()
		a.each([]string{"dst", "x", "a"}, func(p *piece) vecs {
			x, t := p.get("x"), p.regs()
			p.fsub(x, x, k.mu)
			p.combine(t, k, "s", "q", x, "p", p.get("a"))
			if add {
				p.fadd(t, t, p.old())
			}
			return t
		})
	}
}

// affine is c = x − mu and z = m·c + c₀.
func (p *piece) affine(k *coefficients) (c, z vecs) {
	c, z = p.get("x"), p.regs()
	p.fsub(c, c, k.mu)
	p.combine(z, k, "c", "m", c)
	return c, z
}

// combine is the coefficient start plus coefficients times values, in order.
func (p *piece) combine(d vecs, k *coefficients, start string, factors ...any) {
	p.dup(d, k.lane(start))
	for i := 0; i < len(factors); i += 2 {
		p.fmlaLane(d, factors[i+1].(vecs), k.lane(factors[i].(string)))
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

// coefficients is the members of parameter k: four in a register, and mu in all
// lanes of one.
type coefficients struct {
	packed vecs
	mu     vecs
}

func (a *asm) coefficients() *coefficients {
	k := &coefficients{a.vecs(4), a.vecs(1)}
	at := a.arg("k")
	a.op("FLDPQ", mem(at, 0), fmt.Sprintf("(%s, %s)", k.packed[0].f(), k.packed[1].f()))
	a.op("FMOVQ", mem(at, 32), k.packed[2].f())
	a.op("FMOVD", mem(at, 48), k.packed[3].f()) // act has 14 members
	a.dup(k.mu, k.lane("mu"))
	return k
}

func (k *coefficients) lane(name string) lane {
	for i, f := range fields {
		if f == name {
			return lane{k.packed[i/4], i % 4}
		}
	}
	panic("no coefficient " + name)
}
