package cpu

import (
	"fmt"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// naiveConv returns the definition, in float64.
func naiveConv(x, weight []float32, s compute.ConvShape, n, h, w int) []float64 {
	out := make([]float64, n*s.Out*h*w)
	k, half := s.Kernel, s.Kernel/2
	for i := range out {
		xx, y, o, img := i%w, i/w%h, i/(w*h)%s.Out, i/(w*h*s.Out)
		for c := range s.In {
			for t := range k * k {
				yy, xs := y+t/k-half, xx+t%k-half
				if yy >= 0 && yy < h && xs >= 0 && xs < w {
					out[i] += float64(weight[(o*s.In+c)*k*k+t]) * float64(x[((img*s.In+c)*h+yy)*w+xs])
				}
			}
		}
	}
	return out
}

var convCases = []struct {
	shape   compute.ConvShape
	n, h, w int
}{
	{compute.ConvShape{Out: 5, In: 3, Kernel: 3}, 2, 5, 7},
	{compute.ConvShape{Out: 16, In: 9, Kernel: 3}, 1, 24, 24},
	{compute.ConvShape{Out: 9, In: 8, Kernel: 3}, 3, 8, 8},
	{compute.ConvShape{Out: 8, In: 4, Kernel: 3}, 1, 1, 1},
	{compute.ConvShape{Out: 6, In: 16, Kernel: 3}, 1, 64, 3},
	{compute.ConvShape{Out: 10, In: 7, Kernel: 1}, 2, 12, 12},
	{compute.ConvShape{Out: 24, In: 5, Kernel: 1}, 2, 6, 6},
	{compute.ConvShape{Out: 13, In: 20, Kernel: 1}, 1, 5, 7},
	{compute.ConvShape{Out: 30, In: 50, Kernel: 1}, 3, 1, 1},
	{compute.ConvShape{Out: 30, In: 49, Kernel: 1}, 18, 1, 1},
}

func TestConvIsItsDefinition(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		for _, c := range convCases {
			checkConv(t, d, c.shape, c.n, c.h, c.w, 2e-6)
		}
	})
}

// checkConv compares every mode of a convolution with its definition.
func checkConv(t *testing.T, d *Device, s compute.ConvShape, n, h, w int, bound float64) {
	t.Helper()
	name, hw := fmt.Sprintf("%+v of %d×%d×%d", s, n, h, w), h*w
	x, weight, bias := random(1, n*s.In*hw), random(2, s.Out*s.In*s.Kernel*s.Kernel), random(3, s.Out)
	add := random(4, n*s.Out*hw)
	prepared, err := d.PrepareConv(s, weight, bias)
	require.NoError(t, err)
	assert.Equal(t, s, prepared.Shape())
	src, dst := view(t, d, x, n, s.In, h, w), empty(t, d, n, s.Out, h, w)
	want := naiveConv(x, weight, s, n, h, w)
	d.Conv(dst, src, prepared, compute.ConvMode{})
	near(t, want, values(t, d, dst), bound, name)

	for i := range want {
		want[i] += float64(bias[i/hw%s.Out])
	}
	d.Conv(dst, src, prepared, compute.ConvMode{Bias: true})
	near(t, want, values(t, d, dst), bound, name)

	for i := range want {
		want[i] += float64(add[i])
	}
	d.Write(dst, add)
	d.Conv(dst, src, prepared, compute.ConvMode{Bias: true, Add: dst})
	near(t, want, values(t, d, dst), bound, name)

	u := random(5, n*s.Out*hw)
	up, back := view(t, d, u, n, s.Out, h, w), empty(t, d, n, s.In, h, w)
	d.Conv(back, up, prepared, compute.ConvMode{Adjoint: true})
	near(t, naiveConv(u, transposed(weight, s), compute.ConvShape{Out: s.In, In: s.Out, Kernel: s.Kernel}, n, h, w), values(t, d, back), bound, name)
}

// transposed returns the weights of the adjoint convolution.
func transposed(weight []float32, s compute.ConvShape) []float32 {
	taps := s.Kernel * s.Kernel
	out := make([]float32, len(weight))
	for i := range weight {
		o, c, t := i/(s.In*taps), i/taps%s.In, i%taps
		out[(c*s.Out+o)*taps+taps-1-t] = weight[i]
	}
	return out
}

// Images too large to stage whole are convolved in strips of rows.
func TestConvInStrips(t *testing.T) {
	s := compute.ConvShape{Out: 8, In: 160, Kernel: 3}
	const h, w = 150, 70
	require.Greater(t, s.In*h*w, stageFloats)
	d := New(0)
	defer d.Close()
	x, weight := random(1, s.In*h*w), random(2, s.Out*s.In*9)
	prepared, err := d.PrepareConv(s, weight, nil)
	require.NoError(t, err)
	dst := empty(t, d, 1, s.Out, h, w)
	d.Conv(dst, view(t, d, x, 1, s.In, h, w), prepared, compute.ConvMode{})
	got := values(t, d, dst)
	near(t, naiveConv(x, weight, s, 1, h, w), got, 2e-6)
}

func TestConvRefusesWrongShapes(t *testing.T) {
	d := New(1)
	_, err := d.PrepareConv(compute.ConvShape{Out: 2, In: 2, Kernel: 5}, nil, nil)
	assert.ErrorContains(t, err, "kernel 1 or 3")
	_, err = d.PrepareConv(compute.ConvShape{Out: 2, In: 2, Kernel: 1}, make([]float32, 3), nil)
	assert.ErrorContains(t, err, "4 weights, got 3")
	w, err := d.PrepareConv(compute.ConvShape{Out: 2, In: 2, Kernel: 1}, make([]float32, 4), nil)
	require.NoError(t, err)
	x := view(t, d, random(1, 3*16), 1, 3, 4, 4)
	d.Conv(x, x, w, compute.ConvMode{})
	assert.ErrorContains(t, d.Sync(), "conv")
	assert.Error(t, d.Read(make([]float32, 3*16), x), "the failure stays")
}

var benchCases = []struct{ out, in, size, kernel int }{
	{128, 128, 64, 3}, {32, 32, 64, 3}, {32, 64, 64, 3}, {64, 64, 32, 3}, {64, 64, 16, 3}, {128, 128, 8, 3}, {128, 256, 256, 3}, {128, 128, 256, 3}, {256, 256, 64, 3}, {512, 512, 32, 3}, {128, 128, 64, 1}, {128, 384, 32, 1}, {256, 512, 16, 1}, {1024, 256, 1, 1}, {512, 1024, 8, 3}, {512, 512, 16, 3}, {96, 32, 16, 1},
}

// BenchmarkPeak is the matrix kernel's rate on operands in the first cache: what
// the convolutions' rates are shares of.
func BenchmarkPeak(b *testing.B) {
	k := choose()
	const inner, columns = 64, 48
	c, x, w := make([]float32, 8*columns), random(1, inner*columns), random(2, 8*inner)
	for b.Loop() {
		k.tile(c, columns, w, x, inner, columns, one, 3, false)
	}
	b.ReportMetric(2*8*columns*inner*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

// BenchmarkConv's rates count the direct sum's multiplications; those of tiles
// exceed the peak, so that the share is of the multiplications really done.
func BenchmarkConv(b *testing.B) {
	d := New(0)
	defer d.Close()
	for _, c := range benchCases {
		b.Run(fmt.Sprintf("%d→%d@%d²k%d", c.in, c.out, c.size, c.kernel), func(b *testing.B) {
			s := compute.ConvShape{Out: c.out, In: c.in, Kernel: c.kernel}
			w, err := d.PrepareConv(s, random(2, c.out*c.in*c.kernel*c.kernel), nil)
			require.NoError(b, err)
			src, err := compute.FromHost(d, random(1, c.in*c.size*c.size), 1, c.in, c.size, c.size)
			require.NoError(b, err)
			dst, err := compute.New(d, 1, c.out, c.size, c.size)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				d.Conv(dst, src, w, compute.ConvMode{})
			}
			flop := 2 * float64(c.out*c.in*c.kernel*c.kernel*c.size*c.size)
			b.ReportMetric(flop*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
