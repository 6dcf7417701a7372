package computetest

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// convModes are the ways in which networks use a convolution.
var convModes = []struct {
	name          string
	bias, adjoint bool
	add           string // "", "other" or "self"
}{
	{"bias", true, false, ""},
	{"adjoint", false, true, ""},
	{"bias, add other", true, false, "other"},
	{"adjoint, add self", false, true, "self"},
	{"plain", false, false, ""},
	{"bias, add self", true, false, "self"},
	{"adjoint, add other", false, true, "other"},
}

func (s *suite) conv() {
	for i, r := range []struct {
		in, out, k, n, h, w int
		quick               bool
	}{
		{3, 32, 3, 2, 5, 7, true}, {64, 32, 1, 2, 8, 8, true},
		{32, 6, 3, 1, 6, 6, false}, {32, 32, 3, 3, 12, 12, false}, {96, 64, 3, 1, 8, 8, false},
		{6, 3, 1, 3, 5, 7, false}, {32, 64, 3, 2, 1, 1, false}, {3, 3, 3, 1, 24, 24, false},
		{64, 96, 3, 1, 24, 24, false}, {32, 32, 3, 1, 64, 64, false}, {3, 96, 1, 2, 24, 24, false},
		{96, 32, 1, 3, 1, 1, false}, {6, 6, 3, 2, 7, 1, false}, {3, 32, 3, 1, 64, 64, false}, {5, 7, 3, 1, 9, 11, false},
		{512, 8, 3, 1, 6, 6, false}, {8, 512, 3, 1, 6, 6, false}, {640, 32, 1, 1, 5, 7, false}, {64, 96, 3, 2, 17, 15, false},
	} {
		for j, mode := range convModes {
			l := layouts[(i+j)%len(layouts)]
			name := fmt.Sprintf("%d→%d k%d on %d×%d×%d, %s, %v", r.in, r.out, r.k, r.n, r.h, r.w, mode.name, l)
			group := "conv"
			if mode.adjoint {
				group = "conv-adjoint"
			}
			s.add(r.quick, group, name, Products, func(b *bench) float64 {
				c := b.convolution(r.out, r.in, r.k)
				from, to := r.in, r.out
				if mode.adjoint {
					from, to = to, from
				}
				x := b.normal(r.n, from, r.h, r.w)
				ref := c.ref(x, mode.bias, mode.adjoint)
				do := compute.ConvMode{Bias: mode.bias, Adjoint: mode.adjoint}
				var old Array
				if mode.add != "" {
					old = b.normal(r.n, to, r.h, r.w)
				}
				if mode.add == "other" {
					do.Add = b.source(l, old)
					ref, old = ref.plus(1, old), Array{}
				}
				return b.compare(l, shape{r.n, to, r.h, r.w}, old, x, func(dst, src compute.Tensor) {
					if mode.add == "self" {
						do.Add = dst
					}
					b.dev.Conv(dst, src, c.prepared, do)
				}, ref)
			})
		}
		l := layouts[i%len(layouts)]
		s.add(r.quick, "conv-identity", fmt.Sprintf("%d→%d k%d on %d×%d×%d, %v", r.in, r.out, r.k, r.n, r.h, r.w, l), Products, func(b *bench) float64 {
			c := b.convolution(r.out, r.in, r.k)
			apply := func(adjoint bool) func(dst, src compute.Tensor) {
				return func(dst, src compute.Tensor) {
					b.dev.Conv(dst, src, c.prepared, compute.ConvMode{Adjoint: adjoint})
				}
			}
			return b.identity(l, b.normal(r.n, r.out, r.h, r.w), b.normal(r.n, r.in, r.h, r.w), apply(false), apply(true))
		})
	}
	s.add(true, "conv", "without a bias, weights changed after PrepareConv", Products, func(b *bench) float64 {
		weight := b.normal(6, 3, 3, 3)
		host := weight.Float32()
		w, err := b.dev.PrepareConv(compute.ConvShape{Out: 6, In: 3, Kernel: 3}, host, nil)
		if err != nil {
			b.fail(err)
			return math.Inf(1)
		}
		clear(host) // the caller may reuse its slice
		x := b.normal(2, 3, 6, 6)
		return b.compare(channels, shape{2, 6, 6, 6}, Array{}, x, func(dst, src compute.Tensor) {
			b.dev.Conv(dst, src, w, compute.ConvMode{})
		}, RefConv(x, weight.V, nil, 6, 3))
	})
}

// convolution is a prepared convolution with random weights.
type convolution struct {
	compute.ConvShape
	weight, bias []float64
	prepared     compute.Weights
}

func (b *bench) convolution(out, in, k int) convolution {
	weight := normal(b.rng, 1/math.Sqrt(float64(in*k*k)), 0, out, in, k, k)
	bias := b.normal(1, out, 1, 1)
	c := convolution{compute.ConvShape{Out: out, In: in, Kernel: k}, weight.V, bias.V, nil}
	w, err := b.dev.PrepareConv(c.ConvShape, weight.Float32(), bias.Float32())
	if err != nil {
		b.fail(err)
		panic(abort{})
	}
	if w.Shape() != c.ConvShape {
		b.fail(fmt.Errorf("weights of shape %+v say they are %+v", c.ConvShape, w.Shape()))
	}
	c.prepared = w
	return c
}

func (c convolution) ref(x Array, bias, adjoint bool) Array {
	switch {
	case adjoint:
		return RefConvAdjoint(x, c.weight, c.In, c.Kernel)
	case bias:
		return RefConv(x, c.weight, c.bias, c.Out, c.Kernel)
	}
	return RefConv(x, c.weight, nil, c.Out, c.Kernel)
}
