package wgsl

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// scalars are the functions of [compute.MapFunc] in WGSL: f, f′ and f″ at x, with the
// parameters p.p0 to p.p2.
var scalars = [compute.MapFuncs][3]string{
	compute.MapClamp: {"min(max(x, p.p0), p.p1)", "select(0.0, 1.0, p.p0 <= x && x <= p.p1)"},
	compute.MapExp:   {"exponential(p.p0 * x + p.p1)"},
	compute.MapPow:   {"power(p.p0 * x + p.p1, p.p2, p.at_zero)"},
	compute.MapSiLU:  {"silu_value(x)", "silu_slope(x)", "silu_curve(x).y"},
}

// powers are exponents that need no logarithm.
var powers = map[float32]string{
	0.5: "sqrt(p.p0 * x + p.p1)", -0.5: "1.0 / sqrt(p.p0 * x + p.p1)", -1: "1.0 / (p.p0 * x + p.p1)",
	2: "(p.p0 * x + p.p1) * (p.p0 * x + p.p1)",
}

// Map implements [compute.Pointwise].
func (d *Device) Map(dst compute.Tensor, m compute.Map, sources ...compute.Tensor) {
	if !d.MapFits(dst, m, sources) {
		return
	}
	f0 := scalars[m.Func]
	params := []parameter{u("len", dst.Len()), f("p0", m.P[0]), f("p1", m.P[1]), f("p2", m.P[2])}
	if m.Func == compute.MapPow {
		params = append(params, f("at_zero", float32(math.Pow(0, float64(m.P[2])))))
		if special, ok := powers[m.P[2]]; ok {
			f0[0] = special
		}
	}
	args := []argument{out("dst", dst)}
	for i, t := range sources {
		args = append(args, in([...]string{"x", "a", "b", "ab"}[i], t))
	}
	d.run(call{
		kernel: "map", entry: m.Kernel(), args: args, params: params,
		ints:   []integer{{"ORDER", m.Order}, flag("ACCUMULATE", m.Accumulate)},
		texts:  []text{{"entry", m.Kernel()}, {"value", f0[0]}, {"slope", f0[1]}, {"bend", f0[2]}},
		groups: [3]int{d.across(dst.Len()), dst.N, 1},
		work:   pointwiseWork * float64(dst.N*dst.Len()*len(args)),
	})
}

// flag is 1 or 0 in a kernel's text.
func flag(name string, set bool) integer {
	if set {
		return integer{name, 1}
	}
	return integer{name, 0}
}
