package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// flag is 1 or 0 in a kernel's text.
func flag(name string, set bool) integer {
	if set {
		return integer{name, 1}
	}
	return integer{name, 0}
}

// SiLU implements [compute.Nonlinear].
func (d *Device) SiLU(dst, x compute.Tensor) {
	if d.SiLUFits(dst, x) {
		d.each("silu", "silu", nil, nil, dst, in("x", x))
	}
}

// SiLUAdjoint implements [compute.Nonlinear].
func (d *Device) SiLUAdjoint(dx, x, dy compute.Tensor, accumulate bool) {
	if d.SiLUFits(dx, x, dy) {
		d.each("silu", "silu_adjoint", []integer{flag("ACCUMULATE", accumulate)}, nil, dx, in("x", x), in("dy", dy))
	}
}

// SiLUTangent implements [compute.Nonlinear].
func (d *Device) SiLUTangent(dst, x, a compute.Tensor) {
	if d.SiLUFits(dst, x, a) {
		d.each("silu", "jvp_silu", nil, nil, dst, in("x", x), in("a", a))
	}
}

// SiLUSecond implements [compute.Nonlinear].
func (d *Device) SiLUSecond(dst, x, a, b, ab compute.Tensor) {
	if d.SiLUFits(dst, x, a, b, ab) {
		d.each("silu", "jet2_silu", nil, nil, dst, in("x", x), in("a", a), in("b", b), in("ab", ab))
	}
}
