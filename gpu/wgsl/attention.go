package wgsl

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// heads is the layout of one attention block, or of some of its heads.
type heads struct {
	compute.Heads
	ch, tokens  int
	from, count int // heads that are computed together
}

func headsOf(out compute.Tensor, h compute.Heads) heads {
	return heads{h, out.C / h.Count, out.H * out.W, 0, h.Count}
}

func (h *heads) scale() float32 { return float32(1 / math.Sqrt(float64(h.ch))) }

// q, k, v
const (
	query = iota
	key
	value
)

// part is q, k or v of a tensor of all three: [ch][tokens].
func (h *heads) part(x compute.Tensor, which int) matrix {
	step, gap := 3*h.ch, h.ch
	if h.Split {
		step, gap = h.ch, h.Count*h.ch
	}
	x.Off += (h.from*step + which*gap) * h.tokens
	return matrix{x, step * h.tokens, h.tokens, 1}
}

// result returns the attention's value, or its cotangent: [ch][tokens].
func (h *heads) result(x compute.Tensor) matrix {
	x.Off += h.from * h.ch * h.tokens
	return matrix{x, h.ch * h.tokens, h.tokens, 1}
}

// scores is scratch for a matrix of scores: [s][t] of keys and queries, so that
// the softmax runs down columns.
func (h *heads) scores(d *Device, slot, images int) matrix {
	return matrix{d.temporary(slot, images, h.count, h.tokens, h.tokens), h.tokens * h.tokens, h.tokens, 1}
}

// scoreFloats bounds one array of scores.
const scoreFloats = 16 << 20

// each calls f for the images and heads that are computed together: all, or one
// image at a time, or some of its heads, so that the scores don't take too much
// memory.
func (h heads) each(images int, f func(h heads, some func(compute.Tensor) compute.Tensor)) {
	one := h.tokens * h.tokens
	if one*h.Count*images <= scoreFloats {
		f(h, func(t compute.Tensor) compute.Tensor { return t })
		return
	}
	count := max(1, min(h.Count, scoreFloats/one))
	for n := range images {
		for h.from = 0; h.from < h.Count; h.from += count {
			h.count = min(count, h.Count-h.from)
			f(h, func(t compute.Tensor) compute.Tensor { return t.Images(n%t.N, n%t.N+1) })
		}
	}
}

// softmax queues a kernel that works on columns of scores in place.
func (d *Device) softmax(h *heads, entry string, images int, args ...argument) {
	size := workgroup
	if d.limits.Software {
		size = 8
	}
	d.run(call{
		kernel: "softmax", entry: entry, ints: []integer{{"WORKGROUP", size}}, args: args,
		params: []parameter{u("tokens", h.tokens), u("heads", h.count)},
		groups: [3]int{ceil(h.tokens, size), images * h.count, 1},
		work:   3 * pointwiseWork * float64(len(args)*images*h.count*h.tokens*h.tokens),
	})
}

// Attention implements [compute.Nonlinear].
func (d *Device) Attention(dst, x compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h) {
		d.attend(dst, h, x)
	}
}

// AttentionTangent implements [compute.Nonlinear].
func (d *Device) AttentionTangent(dst, x, a compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a) {
		d.attend(dst, h, x, a)
	}
}

// AttentionSecond implements [compute.Nonlinear].
func (d *Device) AttentionSecond(dst, x, a, b, ab compute.Tensor, h compute.Heads) {
	if d.AttentionFits(dst, x, h, a, b, ab) {
		d.attend(dst, h, x, a, b, ab)
	}
}

// attend computes the attention's highest derivative: of one input the value, of
// x and a the tangent, of x, a, b and ab the second. Input m is the derivative by
// the directions that are the bits of m, and every product differentiates as
//
//	(K·Q)_m = Σ_{u ⊆ m} K_u · Q_{m∖u}.
func (d *Device) attend(dst compute.Tensor, layout compute.Heads, inputs ...compute.Tensor) {
	headsOf(dst, layout).each(dst.N, func(h heads, some func(compute.Tensor) compute.Tensor) {
		to := some(dst)
		xs := make([]compute.Tensor, len(inputs))
		s := make([]matrix, len(inputs))
		for m := range s {
			xs[m] = some(inputs[m])
			if s[m] = h.scores(d, m, xs[m].N); s[m].Buf == nil {
				return
			}
			subsets(m, func(u, rest int) {
				d.gemm(s[m], h.part(xs[u], key).transposed(), h.part(xs[rest], query),
					h.tokens, h.tokens, h.ch, h.count, h.scale(), u != m)
			})
		}
		d.softmax(&h, "softmax", s[0].N, out("s", s[0].Tensor))
		switch len(s) {
		case 2:
			d.softmax(&h, "jvp_softmax", to.N, out("a", s[1].Tensor), in("s", s[0].Tensor))
		case 4:
			d.softmax(&h, "jet2_softmax", to.N, out("a", s[1].Tensor), out("b", s[2].Tensor), out("ab", s[3].Tensor), in("s", s[0].Tensor))
		}
		top := len(s) - 1
		subsets(top, func(u, rest int) {
			d.gemm(h.result(to), h.part(xs[u], value), s[rest], h.ch, h.tokens, h.tokens, h.count, 1, u != top)
		})
	})
}

// subsets calls f for every split of the bits of m in two parts, the first with
// all of them first.
func subsets(m int, f func(u, rest int)) {
	for u := m; u >= 0; u-- {
		if u&^m == 0 {
			f(u, m&^u)
		}
	}
}

// AttentionAdjoint implements [compute.Nonlinear]. With dP = Vᵀ dO and
// dS = P∘(dP − ⟨P, dP⟩): dQ = K dS, dK = Q dSᵀ, dV = dO Pᵀ.
func (d *Device) AttentionAdjoint(dx, x, dy compute.Tensor, layout compute.Heads, accumulate bool) {
	if !d.AttentionAdjointFits(dx, x, dy, layout) {
		return
	}
	headsOf(dy, layout).each(dy.N, func(h heads, some func(compute.Tensor) compute.Tensor) {
		x, dx, dy := some(x), some(dx), some(dy)
		p, ds := h.scores(d, 0, x.N), h.scores(d, 1, dy.N)
		if p.Buf == nil || ds.Buf == nil {
			return
		}
		t := h.tokens
		d.gemm(p, h.part(x, key).transposed(), h.part(x, query), t, t, h.ch, h.count, h.scale(), false)
		d.softmax(&h, "softmax", x.N, out("s", p.Tensor))
		d.gemm(ds, h.part(x, value).transposed(), h.result(dy), t, t, h.ch, h.count, 1, false)
		d.softmax(&h, "jvp_softmax", dy.N, out("a", ds.Tensor), in("s", p.Tensor))
		d.gemm(h.part(dx, query), h.part(x, key), ds, h.ch, t, t, h.count, h.scale(), accumulate)
		d.gemm(h.part(dx, key), h.part(x, query), ds.transposed(), h.ch, t, t, h.count, h.scale(), accumulate)
		d.gemm(h.part(dx, value), h.result(dy), p.transposed(), h.ch, t, t, h.count, 1, accumulate)
	})
}
