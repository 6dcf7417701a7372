package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// devices are the kernel sets of this machine on one and on three threads.
func devices(t *testing.T, test func(t *testing.T, d *Device)) {
	for _, k := range available() {
		for _, threads := range []int{1, 3} {
			d := newDevice(threads, k)
			t.Run(d.Info().Description, func(t *testing.T) { test(t, d) })
			assert.NoError(t, d.Close())
		}
	}
}

func random(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

const guard = 12345

// view puts values into a channel range of a larger tensor whose other values
// are guards.
func view(t *testing.T, d *Device, values []float32, n, c, h, w int) compute.Tensor {
	all := make([]float32, n*(c+3)*h*w)
	for i := range all {
		all[i] = guard
	}
	whole, err := compute.FromHost(d, all, n, c+3, h, w)
	require.NoError(t, err)
	part := whole.Channels(1, c+1)
	d.Write(part, values)
	return part
}

// empty returns a view full of NaN.
func empty(t *testing.T, d *Device, n, c, h, w int) compute.Tensor {
	nan := make([]float32, n*c*h*w)
	for i := range nan {
		nan[i] = float32(math.NaN())
	}
	return view(t, d, nan, n, c, h, w)
}

// values reads a view made by view, and checks that its guards stand.
func values(t *testing.T, d *Device, v compute.Tensor) []float32 {
	out, err := compute.ToHost(d, v)
	require.NoError(t, err)
	hw := v.H * v.W
	for i, x := range v.Buf.(*buffer).data {
		c := i / hw % (v.C + 3)
		if c < 1 || c > v.C {
			require.Equal(t, float32(guard), x, "guard %d was overwritten", i)
		}
	}
	return out
}

// near checks ‖got − want‖ ≤ bound·‖want‖.
func near(t *testing.T, want []float64, got []float32, bound float64, what ...any) {
	t.Helper()
	require.Len(t, got, len(want), what...)
	var diff, norm float64
	for i, w := range want {
		diff += (float64(got[i]) - w) * (float64(got[i]) - w)
		norm += w * w
	}
	require.LessOrEqual(t, math.Sqrt(diff/norm), bound, what...)
}

func inner(a, b []float32) (s float64) {
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

func norm2(a []float32) float64 { return math.Sqrt(inner(a, a)) }

// jet is a number with its derivatives by α, by β and by both.
type jet struct{ v, a, b, ab float64 }

func (x jet) add(y jet) jet { return jet{x.v + y.v, x.a + y.a, x.b + y.b, x.ab + y.ab} }

func (x jet) times(c float64) jet { return jet{c * x.v, c * x.a, c * x.b, c * x.ab} }

func (x jet) mul(y jet) jet {
	return jet{x.v * y.v, x.a*y.v + x.v*y.a, x.b*y.v + x.v*y.b, x.ab*y.v + x.a*y.b + x.b*y.a + x.v*y.ab}
}

// chain is f(x) from f, f′ and f″ at x.v.
func (x jet) chain(f, f1, f2 float64) jet {
	return jet{f, f1 * x.a, f1 * x.b, f2*x.a*x.b + f1*x.ab}
}

func (x jet) exp() jet { e := math.Exp(x.v); return x.chain(e, e, e) }

func (x jet) pow(p float64) jet {
	return x.chain(math.Pow(x.v, p), p*math.Pow(x.v, p-1), p*(p-1)*math.Pow(x.v, p-2))
}

func (x jet) silu() jet {
	return x.mul(x.times(-1).exp().add(jet{v: 1}).pow(-1))
}

// jets zips a point and directions.
func jets(x, a, b, ab []float32) []jet {
	out := make([]jet, len(x))
	for i := range x {
		out[i] = jet{float64(x[i]), float64(a[i]), float64(b[i]), float64(ab[i])}
	}
	return out
}

// part takes one derivative out of jets.
func part(js []jet, f func(j jet) float64) []float64 {
	out := make([]float64, len(js))
	for i, j := range js {
		out[i] = f(j)
	}
	return out
}

func jetV(j jet) float64  { return j.v }
func jetA(j jet) float64  { return j.a }
func jetAB(j jet) float64 { return j.ab }
