package tiles

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// small is a network of 16×16 images with learned variance.
func small(t *testing.T) *unet.Model {
	const folder = "../../../testdata/golden/unet/new-attention-order/"
	file, err := checkpoint.Open(folder + "model.safetensors")
	require.NoError(t, err)
	defer file.Close()
	config, err := os.ReadFile(folder + "config.json")
	require.NoError(t, err)
	dev := cpu.New(2)
	m, err := unet.Load(dev, file, config)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close(); require.NoError(t, dev.Close()) })
	return m
}

func cover(t *testing.T, base prior.Model, h, w int, o Options) *Model {
	m, err := New(base, h, w, o)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

func random(t *testing.T, d compute.Device, n, c, h, w int, seed uint64) compute.Tensor {
	rng, host := rand.New(rand.NewPCG(seed, 1)), make([]float32, n*c*h*w)
	for i := range host {
		host[i] = float32(rng.NormFloat64())
	}
	x, err := compute.FromHost(d, host, n, c, h, w)
	require.NoError(t, err)
	return x
}

func host(t *testing.T, d compute.Device, x compute.Tensor, err error) []float64 {
	t.Helper()
	require.NoError(t, err)
	values, err := compute.ToHost(d, x)
	require.NoError(t, err)
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

func relative(got, want []float64) float64 {
	return floats.Distance(got, want, 2) / floats.Norm(want, 2)
}

// passes returns the value and every derivative at two images, u, v and w of them.
func passes(t *testing.T, m prior.Model, x, u, v, w compute.Tensor, times []int) map[string][]float64 {
	p, err := m.At(x, times)
	require.NoError(t, err)
	d, all := m.Device(), map[string][]float64{}
	all["out"] = host(t, d, p.Out(), nil)
	do := func(name string, f func() (compute.Tensor, error)) { y, err := f(); all[name] = host(t, d, y, err) }
	do("vjp", func() (compute.Tensor, error) { return p.VJP(u) })
	do("jvp", func() (compute.Tensor, error) { return p.JVP(v) })
	do("second", func() (compute.Tensor, error) { return p.Second(v, v) })
	do("mixed", func() (compute.Tensor, error) { return p.Second(v, w) })
	if c, ok := p.(prior.TangentCache); ok {
		do("cached", func() (compute.Tensor, error) { return c.JVPCached(0, v) })
		do("second cached", func() (compute.Tensor, error) { return c.SecondCached([][]float64{{1, 1}}) })
		assert.Equal(t, all["jvp"], all["cached"])
		assert.Less(t, relative(all["second cached"], all["second"]), 1e-5)
	}
	return all
}

// At its own size a prior of tiles is its base.
func TestOwnSize(t *testing.T) {
	base := small(t)
	d := base.Device()
	x, u, v, w := random(t, d, 2, 3, 16, 16, 1), random(t, d, 2, 6, 16, 16, 2), random(t, d, 2, 3, 16, 16, 3), random(t, d, 2, 3, 16, 16, 4)
	want := passes(t, base, x, u, v, w, []int{20, 700})
	require.Equal(t, want, passes(t, cover(t, base, 16, 16, Options{}), x, u, v, w, []int{20, 700}))
}

// The value is the blended windows', the adjoint is exact, and nothing depends on how many
// windows are computed together or on the images beside one.
func TestNetwork(t *testing.T) {
	base := small(t)
	d := base.Device()
	const h, width = 29, 42
	x, u, v, w := random(t, d, 2, 3, h, width, 1), random(t, d, 2, 6, h, width, 2), random(t, d, 2, 3, h, width, 3), random(t, d, 2, 3, h, width, 4)
	times := []int{20, 700}
	m := cover(t, base, h, width, Options{Seed: 3})
	require.Equal(t, 12, m.Windows())
	all := passes(t, m, x, u, v, w, times)

	values := host(t, d, x, nil)
	for n, step := range times {
		g, want := m.at(step), make([]float64, 6*h*width)
		for k := range g.x {
			window := make([]float32, 0, 3*16*16)
			for c := range 3 {
				for i := range 16 {
					for j := range 16 {
						window = append(window, float32(values[((n*3+c)*h+g.y[k]+i)*width+g.x[k]+j]))
					}
				}
			}
			one, err := compute.FromHost(d, window, 1, 3, 16, 16)
			require.NoError(t, err)
			p, err := base.At(one, []int{step})
			require.NoError(t, err)
			for i, e := range host(t, d, p.Out(), nil) {
				c, y, z := i/256, i/16%16, i%16
				want[(c*h+g.y[k]+y)*width+g.x[k]+z] += float64(g.weights[k*256+i%256]) * e
			}
		}
		require.Less(t, relative(all["out"][n*len(want):(n+1)*len(want)], want), 1e-6)
	}

	left, right := floats.Dot(host(t, d, u, nil), all["jvp"]), floats.Dot(all["vjp"], host(t, d, v, nil))
	require.InDelta(t, left, right, 1e-5*floats.Norm(host(t, d, u, nil), 2)*floats.Norm(all["jvp"], 2))

	for _, atOnce := range []int{1, 5, 12, 23} {
		parts := passes(t, cover(t, base, h, width, Options{Seed: 3, AtOnce: atOnce}), x, u, v, w, times)
		for _, name := range []string{"out", "vjp", "jvp", "second", "mixed"} {
			require.Less(t, relative(parts[name], all[name]), 1e-5, "%s with %d windows at once", name, atOnce)
		}
	}
	alone := passes(t, m, x.Images(1, 2), u.Images(1, 2), v.Images(1, 2), w.Images(1, 2), times[1:])
	for name, got := range alone {
		require.Less(t, relative(got, all[name][len(got):]), 1e-5, name)
	}
}

// Derivatives are those of the blended value, by differences in float64.
func TestDifferences(t *testing.T) {
	const n, width = 8, 21
	rng := rand.New(rand.NewPCG(5, 1))
	mix := &mixture.Mixture{}
	for range 3 {
		mean := make([]float64, n)
		for i := range mean {
			mean[i] = rng.NormFloat64()
		}
		mix.Weights, mix.Means = append(mix.Weights, 1./3), append(mix.Means, mean)
	}
	mix.Std = 0.5
	dev := cpu.New(1)
	defer dev.Close()
	base, err := mixture.NewModel(mix, []float64{0.9, 0.5}, dev)
	require.NoError(t, err)
	defer base.Close()
	m := cover(t, base, 1, width, Options{Seed: 2})
	marginal, err := mix.Marginal(0.5)
	require.NoError(t, err)
	g := m.at(1)
	value := func(x []float64) []float64 {
		out := make([]float64, width)
		for k, from := range g.x {
			local, err := marginal.At(x[from : from+n])
			require.NoError(t, err)
			for i, s := range local.Score(make([]float64, n)) {
				out[from+i] -= math.Sqrt(0.5) * float64(g.weights[k*n+i]) * s
			}
		}
		return out
	}
	x, v := random(t, dev, 1, 1, 1, width, 6), random(t, dev, 1, 1, 1, width, 7)
	at, along := host(t, dev, x, nil), host(t, dev, v, nil)
	shifted := func(step float64) []float64 {
		return value(floats.AddScaledTo(make([]float64, width), at, step, along))
	}
	const e = 1e-4
	centre, up, down := value(at), shifted(e), shifted(-e)
	first, second := make([]float64, width), make([]float64, width)
	for i := range first {
		first[i], second[i] = (up[i]-down[i])/(2*e), (up[i]-2*centre[i]+down[i])/(e*e)
	}
	p, err := m.At(x, []int{1})
	require.NoError(t, err)
	require.Less(t, relative(host(t, dev, p.Out(), nil), centre), 1e-6)
	d, err := p.JVP(v)
	require.Less(t, relative(host(t, dev, d, err), first), 1e-6)
	d, err = p.Second(v, v)
	require.Less(t, relative(host(t, dev, d, err), second), 1e-5)

	_, err = m.At(x, []int{0})
	require.NoError(t, err)
	_, err = p.JVP(v)
	require.ErrorIs(t, err, errEnded)
}

// Weights add up to 1 everywhere, at every size, and the grid moves.
func TestGrid(t *testing.T) {
	for side := range slices.Values([]int{1, 2, 8, 64}) {
		for length := side; length < 5*side+3; length++ {
			a := newAxis(length, side)
			for _, u := range []float64{0, 0.3, 0.999} {
				sum, starts := make([]float64, length), a.starts(u)
				require.True(t, slices.IsSorted(starts))
				for k, w := range a.weights(starts) {
					for i, v := range w {
						sum[starts[k]+i] += v
					}
				}
				for _, s := range sum {
					require.InDelta(t, 1, s, 1e-12, "%d windows of %d on %d", a.count, side, length)
				}
			}
		}
	}
	a := newAxis(256, 64)
	require.NotEqual(t, a.starts(0), a.starts(0.5))
	require.Equal(t, 6, a.count)
}

func TestErrors(t *testing.T) {
	base := small(t)
	_, err := New(base, 12, 40, Options{})
	require.EqualError(t, err, "a picture of 40×12 is smaller than the prior's windows of 16×16: pad it to at least their size")
	_, err = New(base, 20, 20, Options{AtOnce: -1})
	require.ErrorContains(t, err, "-1 windows at once")
	m := cover(t, base, 20, 20, Options{})
	_, err = m.At(random(t, base.Device(), 1, 3, 16, 16, 1), []int{1})
	require.ErrorContains(t, err, "the input is 1×3×16×16")
	_, err = m.At(random(t, base.Device(), 1, 3, 20, 20, 1), []int{1000})
	require.ErrorContains(t, err, "timestep 1000 is outside 0 … 999")
}
