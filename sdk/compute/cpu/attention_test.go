package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
)

// jetAttention returns the definition for one image of qkv.
func jetAttention(x []jet, c, hw int, h compute.Heads) []jet {
	ch := c / h.Count
	out := make([]jet, c*hw)
	for head := range h.Count {
		q, gap := head*3*ch, ch
		if h.Split {
			q, gap = head*ch, c
		}
		at := func(part, i, p int) jet { return x[(q+part*gap+i)*hw+p] }
		for t := range hw {
			weights := make([]jet, hw)
			var sum jet
			for s := range hw {
				var dot jet
				for i := range ch {
					dot = dot.add(at(0, i, t).mul(at(1, i, s)))
				}
				weights[s] = dot.times(1 / math.Sqrt(float64(ch))).exp()
				sum = sum.add(weights[s])
			}
			for i := range ch {
				var o jet
				for s := range hw {
					o = o.add(weights[s].mul(at(2, i, s)))
				}
				out[(head*ch+i)*hw+t] = o.mul(sum.pow(-1))
			}
		}
	}
	return out
}

func TestAttentionAndItsDerivatives(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		for _, c := range []struct {
			n, times, ch, h, w int
			heads              compute.Heads
		}{
			{1, 1, 8, 4, 4, compute.Heads{Count: 1}},
			{2, 2, 12, 6, 6, compute.Heads{Count: 2}},
			{1, 2, 10, 3, 5, compute.Heads{Count: 2, Split: true}},
			{1, 1, 16, 12, 12, compute.Heads{Count: 1, Split: true}},
			{1, 1, 3, 1, 1, compute.Heads{Count: 3}},
		} {
			name := fmt.Sprintf("%+v", c)
			hw := c.h * c.w
			length, many := 3*c.ch*hw, c.n*c.times
			x, a, b, ab := random(1, c.n*length), random(2, many*length), random(3, many*length), random(4, many*length)
			dy := random(5, many*c.ch*hw)
			var want []jet
			for n := range many {
				i := n * length
				want = append(want, jetAttention(jets(x[n%c.n*length:][:length], a[i:], b[i:], ab[i:]), c.ch, hw, c.heads)...)
			}
			put := func(v []float32) compute.Tensor { return view(t, d, v, len(v)/length, 3*c.ch, c.h, c.w) }
			xt, at := put(x), put(a)
			y, dst := empty(t, d, c.n, c.ch, c.h, c.w), empty(t, d, many, c.ch, c.h, c.w)
			d.Attention(y, xt, c.heads)
			near(t, part(want[:c.n*c.ch*hw], jetV), values(t, d, y), 1e-6, name)
			d.AttentionTangent(dst, xt, at, c.heads)
			tangent := values(t, d, dst)
			near(t, part(want, jetA), tangent, 1e-6, name)
			d.AttentionSecond(dst, xt, at, put(b), put(ab), c.heads)
			near(t, part(want, jetAB), values(t, d, dst), 1e-6, name)
			d.AttentionSecond(dst, xt, at, put(a), put(ab), c.heads)
			twice := values(t, d, dst)
			d.AttentionSecond(dst, xt, at, at, put(ab), c.heads)
			like(t, twice, values(t, d, dst), len(twice), 1e-6, "along one direction", name)

			d.Write(dst, dy)
			dx := empty(t, d, many, 3*c.ch, c.h, c.w)
			d.AttentionAdjoint(dx, xt, dst, c.heads, false)
			back := values(t, d, dx)
			for dir := range uint64(3) {
				v := random(10+dir, many*length)
				d.AttentionTangent(dst, xt, put(v), c.heads)
				jv := values(t, d, dst)
				assert.InDelta(t, inner(jv, dy), inner(v, back), 1e-6*norm2(jv)*norm2(dy), name)
			}
			d.Write(dst, dy)
			d.Write(dx, a)
			d.AttentionAdjoint(dx, xt, dst, c.heads, true)
			sum := values(t, d, dx)
			for i := range sum {
				assert.InDelta(t, a[i]+back[i], sum[i], 1e-5)
			}
		}
	})
}
