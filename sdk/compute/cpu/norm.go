package cpu

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// normCall is a normalisation, or one of its derivatives, being run.
type normCall struct {
	compute.Norm
	dst, x, stats, a, b, ab compute.Tensor
	first                   compute.Tensor // of a jet: where the tangent goes too
	accumulate              bool
	group                   func(d *Device, w *worker)
}

// group is one group of channels of one image: x̂ = (x − mean)·rstd.
type group struct {
	image, index int
	mean, rstd   float64
	n            float64 // values of the group
	from, to     int     // their range in an image
}

// of returns the group's values in a tensor.
func (g *group) of(t compute.Tensor) []float32 { return image(t, g.image)[g.from:g.to] }

// normalise runs a call: its function for every group, which is the worker's.
func (d *Device) normalise(c normCall) {
	d.norm = c
	d.batches(c.dst.N*c.Groups, c.x.Len()/c.Groups, func(d *Device, w *worker, i int) {
		c := &d.norm
		length := c.x.Len() / c.Groups
		n, j := i/c.Groups, i%c.Groups
		s := image(c.stats, n)
		w.group = group{n, j, float64(s[j]), float64(s[c.Groups+j]), float64(length), j * length, (j + 1) * length}
		c.group(d, w)
	})
}

// channel is a channel of a group: z = a·x̂ + b after the normalisation, and its
// range in an image.
type channel struct {
	a, b     float64
	from, to int
}

// channels returns how many a group has.
func (c *normCall) channels() int { return c.x.C / c.Groups }

// channel is channel k of a group.
func (c *normCall) channel(g *group, k int) channel {
	hw := c.x.H * c.x.W
	k += g.from / hw
	a, b := float64(image(c.Gamma, 0)[k]), float64(image(c.Beta, 0)[k])
	if c.Scale.Buf != nil {
		n := g.image % c.x.N
		s := 1 + float64(image(c.Scale, n)[k])
		a, b = a*s, b*s+float64(image(c.Shift, n)[k])
	}
	return channel{a, b, k * hw, (k + 1) * hw}
}

// GroupNorm implements [compute.Nonlinear].
func (d *Device) GroupNorm(dst, x, stats compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p) {
		d.normalise(normCall{Norm: p, dst: dst, x: x, stats: stats, group: (*Device).normValue})
	}
}

func (d *Device) normValue(w *worker) {
	c, g := &d.norm, &w.group
	in, out := image(c.x, g.image), image(c.dst, g.image)
	xs := in[g.from:g.to]
	exact := d.k.total(xs) / g.n
	mu := float32(exact)
	rest := exact - float64(mu)
	variance := d.k.covariance(xs, xs, mu, mu)/g.n - rest*rest
	g.mean, g.rstd = float64(mu), 1/math.Sqrt(max(variance, 0)+float64(c.Eps))
	stats := image(c.stats, g.image)
	stats[g.index], stats[c.Groups+g.index] = mu, float32(g.rstd)
	for k := range c.channels() {
		ch := c.channel(g, k)
		w.act = act{mu: mu, m: float32(ch.a * g.rstd), c: float32(ch.b)}
		if c.SiLU {
			d.k.silu(out[ch.from:ch.to], in[ch.from:ch.to], &w.act)
		} else {
			d.k.affine(out[ch.from:ch.to], in[ch.from:ch.to], &w.act)
		}
	}
}

// GroupNormAdjoint implements [compute.Nonlinear].
func (d *Device) GroupNormAdjoint(dx, x, stats, dy compute.Tensor, p compute.Norm, accumulate bool) {
	if d.NormFits(dx, x, stats, p, dy) {
		d.normalise(normCall{Norm: p, dst: dx, x: x, stats: stats, a: dy, accumulate: accumulate, group: (*Device).normAdjoint})
	}
}

// normAdjoint: with g = A·dy·silu′(z) and c = x − mean,
// dx = r·(g − mean g) − r³·c·mean(g c).
func (d *Device) normAdjoint(w *worker) {
	c, g := &d.norm, &w.group
	in, up := image(c.x, g.image), image(c.a, g.image)
	mu, r := float32(g.mean), g.rstd
	grad := w.floats(g.to - g.from)
	for k := range c.channels() {
		ch := c.channel(g, k)
		w.act = act{mu: mu, m: float32(ch.a * r), c: float32(ch.b), p: float32(ch.a)}
		c.push(d.k, grad[ch.from-g.from:ch.to-g.from], in[ch.from:ch.to], up[ch.from:ch.to], &w.act)
	}
	xs := in[g.from:g.to]
	mean := d.k.total(grad) / g.n
	slope := d.k.covariance(grad, xs, float32(mean), mu) / g.n
	w.act = act{mu: mu, p: float32(r), q: float32(-r * r * r * slope), s: float32(-r * mean)}
	d.k.linear(g.of(c.dst), xs, grad, &w.act, c.accumulate)
}

// push applies the first derivative of what follows the statistics.
func (c *normCall) push(k *kernels, dst, x, a []float32, co *act) {
	if c.SiLU {
		k.tangent(dst, x, a, co, false)
	} else {
		k.linear(dst, x, a, co, false)
	}
}

// direction holds the statistics of a direction a in one group: its mean, and
// the derivatives of the variance and of r = (var + eps)^−½.
type direction struct{ mean, dvar, dr float64 }

// direction takes a's mean and its mean product with c = x − mean.
func (g *group) direction(mean, product float64) direction {
	dvar := 2 * product
	return direction{mean, dvar, -0.5 * g.rstd * g.rstd * g.rstd * dvar}
}

// along returns the direction of values a.
func (d *Device) along(x, a []float32, g *group) direction {
	mean := d.k.total(a) / g.n
	return g.direction(mean, d.k.covariance(x, a, float32(g.mean), float32(mean))/g.n)
}

// GroupNormTangent implements [compute.Nonlinear].
func (d *Device) GroupNormTangent(dst, x, stats, a compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a) {
		d.normalise(normCall{Norm: p, dst: dst, x: x, stats: stats, a: a, group: (*Device).normTangent})
	}
}

// normTangent: x̂_a = c_a·r + c·r_a.
func (d *Device) normTangent(w *worker) {
	c, g := &d.norm, &w.group
	in, as, out := image(c.x, g.image), image(c.a, g.image), image(c.dst, g.image)
	da := d.along(in[g.from:g.to], as[g.from:g.to], g)
	for k := range c.channels() {
		ch := c.channel(g, k)
		w.act = act{mu: float32(g.mean), m: float32(ch.a * g.rstd), c: float32(ch.b),
			p: float32(ch.a * g.rstd), q: float32(ch.a * da.dr), s: float32(-ch.a * g.rstd * da.mean)}
		c.push(d.k, out[ch.from:ch.to], in[ch.from:ch.to], as[ch.from:ch.to], &w.act)
	}
}

// GroupNormSecond implements [compute.Nonlinear].
func (d *Device) GroupNormSecond(dst, x, stats, a, b, ab compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a, b, ab) {
		d.normalise(normCall{Norm: p, dst: dst, x: x, stats: stats, a: a, b: b, ab: ab, group: (*Device).normSecond})
	}
}

// GroupNormJet implements [compute.Jetter].
func (d *Device) GroupNormJet(dst, second, x, stats, a, ab compute.Tensor, p compute.Norm) {
	if !p.SiLU { // two linear maps share nothing
		d.GroupNormTangent(dst, x, stats, a, p)
		d.GroupNormSecond(second, x, stats, a, a, ab, p)
		return
	}
	if d.NormFits(dst, x, stats, p, a) && d.NormFits(second, x, stats, p, a, ab) {
		d.normalise(normCall{Norm: p, dst: second, first: dst, x: x, stats: stats, a: a, b: a, ab: ab, group: (*Device).normSecond})
	}
}

// normSecond:
//
//	x̂_ab = c_ab·r + c_a·r_b + c_b·r_a + c·r_ab,  r_ab = ¾ r⁵ V_a V_b − ½ r³ V_ab,
//	V_a = 2 mean(c c_a),  V_ab = 2 mean(c_a c_b) + 2 mean(c c_ab).
func (d *Device) normSecond(w *worker) {
	c, g := &d.norm, &w.group
	in, as, bs, abs, out := image(c.x, g.image), image(c.a, g.image), image(c.b, g.image), image(c.ab, g.image), image(c.dst, g.image)
	da, db, dab, dvar := d.directions(w, g)
	r := g.rstd
	drr := 0.75*math.Pow(r, 5)*da.dvar*db.dvar - 0.5*r*r*r*dvar
	for n := range c.channels() {
		ch := c.channel(g, n)
		i, j, k := ch.from, ch.to, &w.act
		*k = act{mu: float32(g.mean), m: float32(ch.a * r), c: float32(ch.b),
			p: float32(ch.a * r), q: float32(ch.a * da.dr), s: float32(-ch.a * r * da.mean),
			pb: float32(ch.a * r), qb: float32(ch.a * db.dr), sb: float32(-ch.a * r * db.mean),
			w: float32(ch.a * r), wa: float32(ch.a * db.dr), wb: float32(ch.a * da.dr), wc: float32(ch.a * drr),
			shift: float32(-ch.a * (r*dab.mean + db.dr*da.mean + da.dr*db.mean))}
		if c.first.Buf != nil {
			d.k.jet(image(c.first, g.image)[i:j], out[i:j], in[i:j], as[i:j], abs[i:j], k)
			continue
		}
		if c.SiLU {
			d.k.second(out[i:j], in[i:j], as[i:j], bs[i:j], abs[i:j], k)
			continue
		}
		first := act{mu: k.mu, p: k.w, q: k.wc, s: k.shift}
		*k, first = first, act{p: k.wa, q: k.wb}
		d.k.linear(out[i:j], in[i:j], abs[i:j], k, false)
		*k = first
		d.k.linear(out[i:j], bs[i:j], as[i:j], k, true)
	}
}

// directions returns the statistics of a, b and ab in a group, and V_ab. The usual b = a
// takes two sweeps over the values.
func (d *Device) directions(w *worker, g *group) (da, db, dab direction, dvar float64) {
	c := &d.norm
	xs, as, bs, abs := g.of(c.x), g.of(c.a), g.of(c.b), g.of(c.ab)
	if &as[0] != &bs[0] {
		da, db, dab = d.along(xs, as, g), d.along(xs, bs, g), d.along(xs, abs, g)
		return da, db, dab, dab.dvar + 2*d.k.covariance(as, bs, float32(da.mean), float32(db.mean))/g.n
	}
	s := d.k.totals(w, as, abs)
	mean, mean2 := s[0]/g.n, s[1]/g.n
	s = d.k.covariances(w, xs, as, abs, float32(g.mean), float32(mean), float32(mean2))
	da, dab = g.direction(mean, s[0]/g.n), g.direction(mean2, s[1]/g.n)
	return da, da, dab, dab.dvar + 2*s[2]/g.n
}
