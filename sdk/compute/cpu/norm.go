package cpu

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// SiLU implements [compute.Nonlinear].
func (d *Device) SiLU(dst, x compute.Tensor) {
	if d.SiLUFits(dst, x) {
		d.spans(dst.N, dst.Len(), func(_ *worker, n, i, j int) {
			d.k.silu(image(dst, n)[i:j], image(x, n)[i:j], &plain)
		})
	}
}

// SiLUAdjoint implements [compute.Nonlinear].
func (d *Device) SiLUAdjoint(dx, x, dy compute.Tensor, accumulate bool) {
	if d.SiLUFits(dx, x, dy) {
		d.spans(dx.N, dx.Len(), func(_ *worker, n, i, j int) {
			d.k.tangent(image(dx, n)[i:j], image(x, n)[i:j], image(dy, n)[i:j], &plain, accumulate)
		})
	}
}

// SiLUTangent implements [compute.Nonlinear].
func (d *Device) SiLUTangent(dst, x, a compute.Tensor) { d.SiLUAdjoint(dst, x, a, false) }

// SiLUSecond implements [compute.Nonlinear].
func (d *Device) SiLUSecond(dst, x, a, b, ab compute.Tensor) {
	if d.SiLUFits(dst, x, a, b, ab) {
		d.spans(dst.N, dst.Len(), func(_ *worker, n, i, j int) {
			d.k.second(image(dst, n)[i:j], image(x, n)[i:j], image(a, n)[i:j], image(b, n)[i:j], image(ab, n)[i:j], &plain)
		})
	}
}

// group is one group of channels of one image: x̂ = (x − mean)·rstd.
type group struct {
	mean, rstd float64
	n          float64 // values of the group
	from, to   int     // their range in an image
}

// groups calls task for every group of so many images. stats holds the groups'
// means and 1/√(var + eps); the task may fill them in.
func (d *Device) groups(images int, x, stats compute.Tensor, p compute.Norm, task func(w *worker, n int, g *group, stats []float32)) {
	length := x.Len() / p.Groups
	d.batches(images*p.Groups, length, func(w *worker, i int) {
		n, j := i/p.Groups, i%p.Groups
		s := image(stats, n)
		g := group{float64(s[j]), float64(s[p.Groups+j]), float64(length), j * length, (j + 1) * length}
		task(w, n, &g, s)
	})
}

// channels calls task for each channel of a group with the affine map z = A·x̂ + B
// after the normalisation, and the channel's range in an image.
func channels(p compute.Norm, x compute.Tensor, n int, g *group, task func(a, b float64, from, to int)) {
	hw := x.H * x.W
	n %= x.N
	for c := g.from / hw; c < g.to/hw; c++ {
		a, b := float64(image(p.Gamma, 0)[c]), float64(image(p.Beta, 0)[c])
		if p.Scale.Buf != nil {
			s := 1 + float64(image(p.Scale, n)[c])
			a, b = a*s, b*s+float64(image(p.Shift, n)[c])
		}
		task(a, b, c*hw, (c+1)*hw)
	}
}

// GroupNorm implements [compute.Nonlinear].
func (d *Device) GroupNorm(dst, x, stats compute.Tensor, p compute.Norm) {
	if !d.NormFits(dst, x, stats, p) {
		return
	}
	d.groups(x.N, x, stats, p, func(w *worker, n int, g *group, stats []float32) {
		in, out := image(x, n), image(dst, n)
		xs := in[g.from:g.to]
		exact := d.k.total(xs) / g.n
		mu := float32(exact)
		rest := exact - float64(mu)
		variance := d.k.covariance(xs, xs, mu, mu)/g.n - rest*rest
		g.mean, g.rstd = float64(mu), 1/math.Sqrt(max(variance, 0)+float64(p.Eps))
		j := g.from / (g.to - g.from)
		stats[j], stats[p.Groups+j] = mu, float32(g.rstd)
		channels(p, x, n, g, func(a, b float64, i, j int) {
			w.act = act{mu: mu, m: float32(a * g.rstd), c: float32(b)}
			if p.SiLU {
				d.k.silu(out[i:j], in[i:j], &w.act)
			} else {
				d.k.affine(out[i:j], in[i:j], &w.act)
			}
		})
	})
}

// GroupNormAdjoint implements [compute.Nonlinear]. With g = A·dy·silu′(z) and
// c = x − mean: dx = r·(g − mean g) − r³·c·mean(g c).
func (d *Device) GroupNormAdjoint(dx, x, stats, dy compute.Tensor, p compute.Norm, accumulate bool) {
	if !d.NormFits(dx, x, stats, p, dy) {
		return
	}
	d.groups(dx.N, x, stats, p, func(w *worker, n int, g *group, _ []float32) {
		in, up := image(x, n), image(dy, n)
		mu, r := float32(g.mean), g.rstd
		grad := w.floats(g.to - g.from)
		channels(p, x, n, g, func(a, b float64, i, j int) {
			w.act = act{mu: mu, m: float32(a * r), c: float32(b), p: float32(a)}
			to := grad[i-g.from : j-g.from]
			if p.SiLU {
				d.k.tangent(to, in[i:j], up[i:j], &w.act, false)
			} else {
				d.k.linear(to, in[i:j], up[i:j], &w.act, false)
			}
		})
		xs := in[g.from:g.to]
		mean := d.k.total(grad) / g.n
		slope := d.k.covariance(grad, xs, float32(mean), mu) / g.n
		w.act = act{mu: mu, p: float32(r), q: float32(-r * r * r * slope), s: float32(-r * mean)}
		d.k.linear(image(dx, n)[g.from:g.to], xs, grad, &w.act, accumulate)
	})
}

// direction holds the statistics of a direction a in one group: its mean, and
// the derivatives of the variance and of r = (var + eps)^−½.
type direction struct{ mean, dvar, dr float64 }

func (d *Device) direction(x, a []float32, g *group) direction {
	mean := d.k.total(a) / g.n
	dvar := 2 * d.k.covariance(x, a, float32(g.mean), float32(mean)) / g.n
	return direction{mean, dvar, -0.5 * g.rstd * g.rstd * g.rstd * dvar}
}

// GroupNormTangent implements [compute.Nonlinear]: x̂_a = c_a·r + c·r_a.
func (d *Device) GroupNormTangent(dst, x, stats, a compute.Tensor, p compute.Norm) {
	if !d.NormFits(dst, x, stats, p, a) {
		return
	}
	d.groups(dst.N, x, stats, p, func(w *worker, n int, g *group, _ []float32) {
		in, as, out := image(x, n), image(a, n), image(dst, n)
		da := d.direction(in[g.from:g.to], as[g.from:g.to], g)
		channels(p, x, n, g, func(A, B float64, i, j int) {
			w.act = act{mu: float32(g.mean), m: float32(A * g.rstd), c: float32(B),
				p: float32(A * g.rstd), q: float32(A * da.dr), s: float32(-A * g.rstd * da.mean)}
			if p.SiLU {
				d.k.tangent(out[i:j], in[i:j], as[i:j], &w.act, false)
			} else {
				d.k.linear(out[i:j], in[i:j], as[i:j], &w.act, false)
			}
		})
	})
}

// GroupNormSecond implements [compute.Nonlinear]:
//
//	x̂_ab = c_ab·r + c_a·r_b + c_b·r_a + c·r_ab,  r_ab = ¾ r⁵ V_a V_b − ½ r³ V_ab,
//	V_a = 2 mean(c c_a),  V_ab = 2 mean(c_a c_b) + 2 mean(c c_ab).
func (d *Device) GroupNormSecond(dst, x, stats, a, b, ab compute.Tensor, p compute.Norm) {
	if !d.NormFits(dst, x, stats, p, a, b, ab) {
		return
	}
	d.groups(dst.N, x, stats, p, func(w *worker, n int, g *group, _ []float32) {
		in, as, bs, abs, out := image(x, n), image(a, n), image(b, n), image(ab, n), image(dst, n)
		xs, mu, r := in[g.from:g.to], float32(g.mean), g.rstd
		da := d.direction(xs, as[g.from:g.to], g)
		db := da
		if &as[0] != &bs[0] {
			db = d.direction(xs, bs[g.from:g.to], g)
		}
		dab := d.direction(xs, abs[g.from:g.to], g)
		dvar := dab.dvar + 2*d.k.covariance(as[g.from:g.to], bs[g.from:g.to], float32(da.mean), float32(db.mean))/g.n
		drr := 0.75*math.Pow(r, 5)*da.dvar*db.dvar - 0.5*r*r*r*dvar
		channels(p, x, n, g, func(A, B float64, i, j int) {
			k := &w.act
			*k = act{mu: mu, m: float32(A * r), c: float32(B),
				p: float32(A * r), q: float32(A * da.dr), s: float32(-A * r * da.mean),
				pb: float32(A * r), qb: float32(A * db.dr), sb: float32(-A * r * db.mean),
				w: float32(A * r), wa: float32(A * db.dr), wb: float32(A * da.dr), wc: float32(A * drr),
				shift: float32(-A * (r*dab.mean + db.dr*da.mean + da.dr*db.mean))}
			if p.SiLU {
				d.k.second(out[i:j], in[i:j], as[i:j], bs[i:j], abs[i:j], k)
				return
			}
			first := act{mu: mu, p: k.w, q: k.wc, s: k.shift}
			*k, first = first, act{p: k.wa, q: k.wb}
			d.k.linear(out[i:j], in[i:j], abs[i:j], k, false)
			*k = first
			d.k.linear(out[i:j], bs[i:j], as[i:j], k, true)
		})
	})
}
