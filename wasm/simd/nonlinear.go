//go:build js

package simd

import "github.com/cmi-diffusion/cmi/sdk/compute"

var none compute.Tensor

func (d *Device) norm(c command, dst, x, stats compute.Tensor, p compute.Norm, accumulate bool, a, b, ab compute.Tensor) {
	d.call(c, dst, x, stats, p.Gamma, p.Beta, p.Scale, p.Shift, p.Groups, p.Eps, p.SiLU, accumulate, a, b, ab)
}

// GroupNorm implements [compute.Nonlinear].
func (d *Device) GroupNorm(dst, x, stats compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p) {
		d.norm(cmdNorm, dst, x, stats, p, false, none, none, none)
	}
}

// GroupNormAdjoint implements [compute.Nonlinear].
func (d *Device) GroupNormAdjoint(dx, x, stats, dy compute.Tensor, p compute.Norm, accumulate bool) {
	if d.NormFits(dx, x, stats, p, dy) {
		d.norm(cmdNormAdjoint, dx, x, stats, p, accumulate, dy, none, none)
	}
}

// GroupNormTangent implements [compute.Nonlinear].
func (d *Device) GroupNormTangent(dst, x, stats, a compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a) {
		d.norm(cmdNormTangent, dst, x, stats, p, false, a, none, none)
	}
}

// GroupNormSecond implements [compute.Nonlinear].
func (d *Device) GroupNormSecond(dst, x, stats, a, b, ab compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a, b, ab) {
		d.norm(cmdNormSecond, dst, x, stats, p, false, a, b, ab)
	}
}

func (d *Device) attend(c command, dst compute.Tensor, h compute.Heads, inputs int, accumulate bool, xs ...compute.Tensor) {
	args := []any{dst}
	for i := range 4 {
		if i < len(xs) {
			args = append(args, xs[i])
		} else {
			args = append(args, none)
		}
	}
	d.call(c, append(args, inputs, h.Count, h.Split, accumulate, words(9))...)
}

// Attention implements [compute.Nonlinear].
func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h) {
		d.attend(cmdAttention, dst, h, 1, false, x)
	}
}

// AttentionTangent implements [compute.Nonlinear].
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a) {
		d.attend(cmdAttention, dst, h, 2, false, x, a)
	}
}

// AttentionSecond implements [compute.Nonlinear].
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a, b, ab) {
		d.attend(cmdAttention, dst, h, 4, false, x, a, b, ab)
	}
}

// AttentionAdjoint implements [compute.Nonlinear].
func (d *Device) AttentionAdjoint(dx, x, dy compute.Tensor, h compute.Heads, accumulate bool) {
	if d.AttentionAdjointFits(dx, x, dy, h) {
		d.attend(cmdAttentionAdjoint, dx, h, 3, accumulate, dx, x, dy)
	}
}
