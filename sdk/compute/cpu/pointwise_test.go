package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCombine(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		const n, c, h, w = 2, 3, 5, 7
		for count := 1; count <= 6; count++ {
			var terms []compute.Term
			want := make([]float64, n*c*h*w)
			for k := range count {
				images := 1 + k%2
				x := random(uint64(k), images*c*h*w)
				term := compute.Term{X: view(t, d, x, images, c, h, w), Coef: []float64{0.3 + float64(k)}}
				if k%3 == 0 {
					term.Coef = []float64{1.5, -2}
				}
				for i := range want {
					want[i] += term.Coef[i/(c*h*w)%len(term.Coef)] * float64(x[i%len(x)])
				}
				terms = append(terms, term)
			}
			dst := empty(t, d, n, c, h, w)
			d.Combine(dst, terms...)
			near(t, want, values(t, d, dst), 2e-7)

			last := terms[count-1].X // in place, the destination the last term
			if last.N == n {
				d.Combine(last, terms...)
				near(t, want, values(t, d, last), 2e-7)
			}
		}
	})
}

func TestMapsAreTheirDefinitions(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		const n, c, h, w = 2, 3, 5, 7
		x, y := random(1, n*c*h*w), random(2, n*c*h*w)
		e, mask := random(3, n*c), random(4, h*w)
		xt, yt := view(t, d, x, n, c, h, w), view(t, d, y, n, c, h, w)
		positive := make([]float32, len(x))
		for i, v := range x {
			positive[i] = v * v
		}
		pt := view(t, d, positive, n, c, h, w)
		et, mt := view(t, d, e, n, c, 1, 1), view(t, d, mask, 1, 1, h, w)
		pow := func(p float64) func(int) float64 {
			return func(i int) float64 { return math.Pow(2*float64(positive[i])+0.25, p) }
		}
		for name, m := range map[string]struct {
			run  func(dst compute.Tensor)
			want func(i int) float64
		}{
			"add channel": {func(dst compute.Tensor) { d.AddChannel(dst, xt, et) }, func(i int) float64 { return float64(x[i]) + float64(e[i/(h*w)]) }},
			"mul":         {func(dst compute.Tensor) { d.Mul(dst, xt, yt) }, func(i int) float64 { return float64(x[i]) * float64(y[i]) }},
			"mul by mask": {func(dst compute.Tensor) { d.Mul(dst, xt, mt) }, func(i int) float64 { return float64(x[i]) * float64(mask[i%(h*w)]) }},
			"clamp":       {func(dst compute.Tensor) { d.Map(dst, compute.Clamp(-0.5, 0.7), xt) }, func(i int) float64 { return min(max(float64(x[i]), -0.5), float64(float32(0.7))) }},
			"exp":         {func(dst compute.Tensor) { d.Map(dst, compute.Exp(3, -0.5), xt) }, func(i int) float64 { return math.Exp(3*float64(x[i]) - 0.5) }},
			"pow −½":      {func(dst compute.Tensor) { d.Map(dst, compute.Pow(2, 0.25, -0.5), pt) }, pow(-0.5)},
			"pow ½":       {func(dst compute.Tensor) { d.Map(dst, compute.Pow(2, 0.25, 0.5), pt) }, pow(0.5)},
			"pow −1":      {func(dst compute.Tensor) { d.Map(dst, compute.Pow(2, 0.25, -1), pt) }, pow(-1)},
			"pow 3":       {func(dst compute.Tensor) { d.Map(dst, compute.Pow(2, 0.25, 3), pt) }, pow(3)},
			"clamp adjoint": {func(dst compute.Tensor) { d.Map(dst, compute.Clamp(-0.5, 0.7).Adjoint(false), xt, yt) }, func(i int) float64 {
				if x[i] < -0.5 || x[i] > 0.7 {
					return 0
				}
				return float64(y[i])
			}},
		} {
			t.Run(name, func(t *testing.T) {
				dst := empty(t, d, n, c, h, w)
				m.run(dst)
				want := make([]float64, len(x))
				for i := range want {
					want[i] = m.want(i)
				}
				near(t, want, values(t, d, dst), 3e-7)
			})
		}
		dots, err := compute.Dot(d, xt, yt)
		require.NoError(t, err)
		for i, v := range dots {
			assert.InDelta(t, inner(x[i*105:(i+1)*105], y[i*105:]), v, 1e-12)
		}
	})
}

func TestMaskInPlace(t *testing.T) {
	d := New(2)
	defer d.Close()
	x := random(1, 3*35)
	xt := view(t, d, x, 1, 3, 5, 7)
	d.Mul(xt, xt, xt.Channels(0, 1))
	got := values(t, d, xt)
	for i, v := range got {
		assert.InDelta(t, x[i]*x[i%35], v, 1e-6)
	}
}

func TestResampleKindsAreTransposes(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		const n, c, h, w = 2, 3, 5, 7
		small, large := random(1, n*c*h*w), random(2, n*c*4*h*w)
		st, lt := view(t, d, small, n, c, h, w), view(t, d, large, n, c, 2*h, 2*w)
		for _, up := range []compute.Resampling{compute.Up2, compute.ZeroInsert2} {
			dst := empty(t, d, n, c, 2*h, 2*w)
			d.Resample(dst, st, up, 0.5, false)
			got := values(t, d, dst)
			for i, v := range got {
				x, y := i%(2*w), i/(2*w)%(2*h)
				want := 0.5 * small[i/(4*h*w)*h*w+y/2*w+x/2]
				if up == compute.ZeroInsert2 && (x%2 == 1 || y%2 == 1) {
					want = 0
				}
				require.Equal(t, want, v)
			}
			back := empty(t, d, n, c, h, w)
			d.Resample(back, lt, up.Adjoint(), 0.5, false)
			assert.InDelta(t, inner(got, large), inner(small, values(t, d, back)), 1e-4)
			d.Resample(back, lt, up.Adjoint(), -0.5, true)
			assert.InDelta(t, 0, norm2(values(t, d, back)), 1e-6)
		}
	})
}

func TestSeparable(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		for _, s := range [][4]int{{5, 7, 3, 4}, {16, 16, 64, 64}, {64, 40, 16, 10}, {1, 3, 2, 9}} {
			h, w, oh, ow := s[0], s[1], s[2], s[3]
			x, l, r, old := random(1, 6*h*w), random(2, oh*h), random(3, ow*w), random(4, 6*oh*ow)
			want := make([]float64, 6*oh*ow)
			for i := range want {
				for y := range h {
					for k := range w {
						want[i] += float64(l[i/ow%oh*h+y]) * float64(x[(i/(oh*ow)*h+y)*w+k]) * float64(r[i%ow*w+k])
					}
				}
			}
			dst, src := empty(t, d, 2, 3, oh, ow), view(t, d, x, 2, 3, h, w)
			lt, rt := view(t, d, l, 1, 1, oh, h), view(t, d, r, 1, 1, ow, w)
			d.Separable(dst, src, lt, rt, false)
			near(t, want, values(t, d, dst), 1e-6, s)
			d.Write(dst, old)
			d.Separable(dst, src, lt, rt, true)
			for i := range want {
				want[i] += float64(old[i])
			}
			near(t, want, values(t, d, dst), 1e-6, s)
		}
	})
}

func TestCorrelate(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		for _, s := range [][4]int{{5, 7, 3, 5}, {16, 16, 15, 15}, {40, 33, 7, 1}, {20, 50, 25, 31}} {
			for _, border := range []compute.Border{compute.Reflect, compute.Circular} {
				h, w, kh, kw := s[0], s[1], s[2], s[3]
				name := fmt.Sprint(s, border)
				x, k, u := random(1, 2*h*w), random(2, kh*kw), random(3, 2*h*w)
				want, back := make([]float64, 2*h*w), make([]float64, 2*h*w)
				for i := range want {
					for t := range kh * kw {
						y := extend(i/w%h+t/kw-kh/2, h, border)
						from := (i/(h*w)*h+y)*w + extend(i%w+t%kw-kw/2, w, border)
						want[i] += float64(k[t]) * float64(x[from])
						back[from] += float64(k[t]) * float64(u[i])
					}
				}
				kt := view(t, d, k, 1, 1, kh, kw)
				dst := empty(t, d, 1, 2, h, w)
				d.Correlate(dst, view(t, d, x, 1, 2, h, w), kt, border, false)
				near(t, want, values(t, d, dst), 5e-7, name)
				d.Correlate(dst, view(t, d, u, 1, 2, h, w), kt, border, true)
				near(t, back, values(t, d, dst), 5e-7, name)
			}
		}
	})
}
