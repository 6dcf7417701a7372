package cpu

import (
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// pointwiseCall holds the arguments of the pointwise kernel that is running.
type pointwiseCall struct {
	dst, x, y compute.Tensor
	terms     []compute.Term
	held      [6]compute.Term // what terms views
	repeat    int
	first     []compute.PhiloxBlock // of each image
}

// Combine implements [compute.Pointwise].
func (d *Device) Combine(dst compute.Tensor, terms ...compute.Term) {
	if !d.CombineFits(dst, terms) {
		return
	}
	c := &d.pointwise
	c.dst, c.terms = dst, append(c.held[:0], terms...)
	d.spans(dst.N, dst.Len(), func(d *Device, w *worker, n, i, j int) {
		c := &d.pointwise
		to := image(c.dst, n)[i:j]
		out := to
		if len(c.terms) > 2 {
			out = w.floats(j - i) // the destination may be a later term
		}
		for k := 0; k < len(c.terms); k += 2 {
			w.act = act{q: c.coefficient(k, n)}
			x := image(c.terms[k].X, n)[i:j]
			if k+1 < len(c.terms) {
				w.act.p = c.coefficient(k+1, n)
				d.k.linear(out, x, image(c.terms[k+1].X, n)[i:j], &w.act, k > 0)
				continue
			}
			if k == 0 {
				if w.act.q == 1 {
					copy(out, x)
					continue
				}
				w.act.m = w.act.q
				d.k.affine(out, x, &w.act)
				continue
			}
			w.act.p, w.act.q = w.act.q/2, w.act.q/2
			d.k.linear(out, x, x, &w.act, true)
		}
		if len(c.terms) > 2 {
			copy(to, out)
		}
	})
}

// coefficient returns the factor of term k for image n.
func (c *pointwiseCall) coefficient(k, n int) float32 {
	coef := c.terms[k].Coef
	return float32(coef[n%len(coef)])
}

// AddChannel implements [compute.Pointwise].
func (d *Device) AddChannel(dst, x, e compute.Tensor) {
	if !d.AddChannelFits(dst, x, e) {
		return
	}
	d.pointwise = pointwiseCall{dst: dst, x: x, y: e}
	d.batches(dst.N*dst.C, dst.H*dst.W, func(d *Device, w *worker, i int) {
		p := &d.pointwise
		n, c, hw := i/p.dst.C, i%p.dst.C, p.dst.H*p.dst.W
		w.act = act{m: 1, c: image(p.y, n)[c]}
		d.k.affine(image(p.dst, n)[c*hw:(c+1)*hw], image(p.x, n)[c*hw:(c+1)*hw], &w.act)
	})
}

// Mul implements [compute.Pointwise].
func (d *Device) Mul(dst, a, b compute.Tensor) {
	if !d.MulFits(dst, a, b) {
		return
	}
	d.pointwise = pointwiseCall{dst: dst, x: a, y: b, repeat: dst.C / b.C}
	d.spans(dst.N, b.Len(), func(d *Device, w *worker, n, i, j int) {
		p := &d.pointwise
		factor, length := image(p.y, n)[i:j], p.y.Len()
		if p.repeat > 1 && p.dst.Buf == p.y.Buf { // channels after the first read the factor again
			factor = w.floats(j - i)
			copy(factor, image(p.y, n)[i:j])
		}
		to, from := image(p.dst, n), image(p.x, n)
		for c := range p.repeat {
			d.k.mul(to[c*length+i:c*length+j], from[c*length+i:c*length+j], factor)
		}
	})
}

// Dots implements [compute.Pointwise].
func (d *Device) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	if !d.DotsFit(pairs) {
		return nil, d.Err()
	}
	dots := make([][]float64, len(pairs))
	for i, p := range pairs {
		dots[i] = d.dot(p[0], p[1], compute.Larger(p))
	}
	return dots, nil
}

// dot is ⟨a, b⟩ of each image of big, the larger of the two.
func (d *Device) dot(a, b, big compute.Tensor) []float64 {
	pieces := ceil(big.Len(), chunk)
	d.partial = slices.Grow(d.partial[:0], big.N*pieces)[:big.N*pieces]
	d.pointwise = pointwiseCall{dst: big, x: a, y: b}
	d.spans(big.N, big.Len(), func(d *Device, _ *worker, n, i, j int) {
		c := &d.pointwise
		var s [4]float64
		x, y := image(c.x, n)[i:j], image(c.y, n)[i:j]
		for len(x) >= 4 && len(y) >= 4 {
			s[0] += float64(x[0]) * float64(y[0])
			s[1] += float64(x[1]) * float64(y[1])
			s[2] += float64(x[2]) * float64(y[2])
			s[3] += float64(x[3]) * float64(y[3])
			x, y = x[4:], y[4:]
		}
		for i := range x {
			s[0] += float64(x[i]) * float64(y[i])
		}
		d.partial[n*ceil(c.dst.Len(), chunk)+i/chunk] = (s[0] + s[1]) + (s[2] + s[3])
	})
	out := make([]float64, big.N)
	for i, v := range d.partial {
		out[i/pieces] += v
	}
	return out
}
