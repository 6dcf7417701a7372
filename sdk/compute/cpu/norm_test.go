package cpu

import (
	"fmt"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
)

// jetNorm returns the definition of GroupNorm for one image.
func jetNorm(x []jet, groups int, eps float64, gamma, beta, scale, shift []float32, silu bool) []jet {
	channels := len(gamma)
	per, hw := len(x)/groups, len(x)/channels
	out := make([]jet, len(x))
	for g := range groups {
		xs := x[g*per : (g+1)*per]
		var mean, variance jet
		for _, v := range xs {
			mean = mean.add(v.times(1 / float64(per)))
		}
		for _, v := range xs {
			c := v.add(mean.times(-1))
			variance = variance.add(c.mul(c).times(1 / float64(per)))
		}
		r := variance.add(jet{v: eps}).pow(-0.5)
		for i, v := range xs {
			c := (g*per + i) / hw
			z := v.add(mean.times(-1)).mul(r).times(float64(gamma[c])).add(jet{v: float64(beta[c])})
			if scale != nil {
				z = z.times(1 + float64(scale[c])).add(jet{v: float64(shift[c])})
			}
			if silu {
				z = z.silu()
			}
			out[g*per+i] = z
		}
	}
	return out
}

func TestNormAndItsDerivatives(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		for _, c := range []struct {
			n, times, ch, groups, h, w int
			scaled, silu               bool
		}{{1, 1, 4, 2, 5, 7, false, false}, {2, 3, 6, 3, 6, 6, true, true}, {1, 2, 32, 32, 24, 24, true, false}, {2, 1, 8, 2, 40, 40, false, true}} {
			name := fmt.Sprintf("%+v", c)
			length, many := c.ch*c.h*c.w, c.n*c.times
			x := random(1, c.n*length)
			for i := range x {
				x[i] = 2*x[i] + 1.5
			}
			a, b, ab, dy := random(2, many*length), random(3, many*length), random(4, many*length), random(5, many*length)
			gamma, beta := random(6, c.ch), random(7, c.ch)
			p := compute.Norm{Groups: c.groups, Eps: 1e-5, SiLU: c.silu,
				Gamma: view(t, d, gamma, 1, c.ch, 1, 1), Beta: view(t, d, beta, 1, c.ch, 1, 1)}
			scale, shift := random(8, c.n*c.ch), random(9, c.n*c.ch)
			if c.scaled {
				p.Scale, p.Shift = view(t, d, scale, c.n, c.ch, 1, 1), view(t, d, shift, c.n, c.ch, 1, 1)
			}
			var want []jet
			for n := range many {
				i, m := n*length, n%c.n
				var sc, sh []float32
				if c.scaled {
					sc, sh = scale[m*c.ch:][:c.ch], shift[m*c.ch:][:c.ch]
				}
				want = append(want, jetNorm(jets(x[m*length:][:length], a[i:], b[i:], ab[i:]), c.groups, 1e-5, gamma, beta, sc, sh, c.silu)...)
			}
			put := func(v []float32) compute.Tensor { return view(t, d, v, len(v)/length, c.ch, c.h, c.w) }
			xt, at, bt, abt := put(x), put(a), put(b), put(ab)
			stats := empty(t, d, c.n, 2*c.groups, 1, 1)
			y := empty(t, d, c.n, c.ch, c.h, c.w)
			d.GroupNorm(y, xt, stats, p)
			near(t, part(want[:c.n*length], jetV), values(t, d, y), 5e-7, name)

			dst := empty(t, d, many, c.ch, c.h, c.w)
			d.GroupNormTangent(dst, xt, stats, at, p)
			tangent := values(t, d, dst)
			near(t, part(want, jetA), tangent, 5e-7, name)

			d.GroupNormSecond(dst, xt, stats, at, bt, abt, p)
			near(t, part(want, jetAB), values(t, d, dst), 1e-6, name)

			dx := empty(t, d, many, c.ch, c.h, c.w)
			d.GroupNormAdjoint(dx, xt, stats, put(dy), p, false)
			back := values(t, d, dx)
			assert.InDelta(t, inner(tangent, dy), inner(a, back), 1e-6*norm2(tangent)*norm2(dy), name)
			d.Write(dx, a)
			d.GroupNormAdjoint(dx, xt, stats, put(dy), p, true)
			sum := values(t, d, dx)
			for i := range sum {
				assert.InDelta(t, a[i]+back[i], sum[i], 1e-5)
			}
		}
	})
}

// The second derivative along one direction may be given one tensor twice.
func TestSecondAlongOneDirection(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		x, a, ab := random(1, 200), random(2, 200), random(3, 200)
		put := func(v []float32) compute.Tensor { return view(t, d, v, 1, 4, 5, 10) }
		ones := view(t, d, []float32{1, 1, 1, 1}, 1, 4, 1, 1)
		p := compute.Norm{Groups: 2, Eps: 1e-5, Gamma: ones, Beta: ones, SiLU: true}
		stats, at := empty(t, d, 1, 4, 1, 1), put(a)
		dst := empty(t, d, 1, 4, 5, 10)
		d.GroupNorm(dst, put(x), stats, p)
		d.GroupNormSecond(dst, put(x), stats, at, at, put(ab), p)
		same := values(t, d, dst)
		d.GroupNormSecond(dst, put(x), stats, at, put(a), put(ab), p)
		like(t, values(t, d, dst), same, len(same), 1e-6)
	})
}

func TestSiLUAndItsDerivatives(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		const n = 2 * 3 * 5 * 7
		x, a, b, ab := random(1, n), random(2, 2*n), random(3, 2*n), random(4, 2*n)
		for i := range x {
			x[i] *= 4
		}
		x[0], x[1], x[2] = 1e4, -1e4, 0
		want := jets(append(append([]float32(nil), x...), x...), a, b, ab)
		for i := range want {
			if v := want[i].v; v > -700 {
				want[i] = want[i].silu()
			} else {
				want[i] = jet{}
			}
		}
		put := func(v []float32) compute.Tensor { return view(t, d, v, len(v)/105, 3, 5, 7) }
		xt, at := put(x), put(a)
		y, dst := empty(t, d, 2, 3, 5, 7), empty(t, d, 4, 3, 5, 7)
		d.Map(y, compute.SiLU(), xt)
		near(t, part(want[:n], jetV), values(t, d, y), 3e-7)
		d.Map(dst, compute.SiLU().Tangent(), xt, at)
		near(t, part(want, jetA), values(t, d, dst), 3e-7)
		d.Map(dst, compute.SiLU().Second(), xt, at, put(b), put(ab))
		near(t, part(want, jetAB), values(t, d, dst), 5e-7)
		d.Write(dst, b)
		d.Map(dst, compute.SiLU().Adjoint(true), xt, at)
		sum := part(want, jetA)
		for i := range sum {
			sum[i] += float64(b[i])
		}
		near(t, sum, values(t, d, dst), 3e-7)
	})
}
