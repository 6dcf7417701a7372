package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// A function's own loop, where it has one, computes what its scalar function says; and
// so does the loop that all others have, which is tried here by every function.
func TestMapsAreTheirScalarFunctions(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		const n = 2 * 3 * 5 * 7
		x, a, b, ab := random(1, n), random(2, n), random(3, n), random(4, n)
		for f := range compute.MapFuncs {
			for order := range 3 {
				g := f.Scalar(order)
				if g == nil {
					continue
				}
				m := compute.Map{Func: f, Order: order, Accumulate: order == 1, P: [3]float32{0.5, 3, 0.5}}
				sources := [4][]float32{x, a, b, ab}
				var ts []compute.Tensor
				for _, v := range sources[:[]int{1, 2, 4}[order]] {
					ts = append(ts, view(t, d, v, 2, 3, 5, 7))
				}
				dst := empty(t, d, 2, 3, 5, 7)
				d.Write(dst, b)
				d.Map(dst, m, ts...)
				loop := append([]float32(nil), b...)
				mapGo(d.k, loop, &m, &sources)
				want := make([]float64, n)
				for i, v := range x {
					switch order {
					case 0:
						want[i] = g(float64(v), &m.P)
					case 1:
						want[i] = float64(b[i]) + g(float64(v), &m.P)*float64(a[i])
					case 2:
						slope := f.Scalar(1)(float64(v), &m.P)
						want[i] = g(float64(v), &m.P)*float64(a[i])*float64(b[i]) + slope*float64(ab[i])
					}
				}
				near(t, want, loop, 3e-7)
				near(t, want, values(t, d, dst), 5e-7)
			}
		}
	})
}

// BenchmarkMap is the pointwise maps of a 64×64 image with 64 channels.
func BenchmarkMap(b *testing.B) {
	d := New(1)
	defer d.Close()
	var ts [5]compute.Tensor
	for i := range ts {
		var err error
		ts[i], err = compute.FromHost(d, random(uint64(i), 64*64*64), 1, 64, 64, 64)
		require.NoError(b, err)
		d.Map(ts[i], compute.Exp(0.1, 0), ts[i]) // positive
	}
	for _, m := range []compute.Map{
		compute.SiLU(), compute.SiLU().Tangent(), compute.SiLU().Adjoint(true), compute.SiLU().Second(),
		compute.Clamp(-1, 1), compute.Clamp(-1, 1).Tangent(), compute.Exp(0.5, 0), compute.Pow(1, 0, -0.5), compute.Pow(1, 0, 0.7),
	} {
		b.Run(fmt.Sprintf("%s/%v%v", m.Kernel(), m.Accumulate, m.P[2]), func(b *testing.B) {
			for b.Loop() {
				d.Map(ts[0], m, ts[1:1+int(math.Exp2(float64(m.Order)))]...)
			}
		})
	}
}
