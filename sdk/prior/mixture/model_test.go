package mixture

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

func newModel(t *testing.T, m *Mixture, alphaBar []float64) *Model {
	t.Helper()
	dev := cpu.New(2)
	model, err := NewModel(m, alphaBar, dev)
	require.NoError(t, err)
	t.Cleanup(func() {
		model.Close()
		require.NoError(t, dev.Close())
	})
	return model
}

func upload(t *testing.T, d compute.Device, images [][]float64) compute.Tensor {
	t.Helper()
	var flat []float32
	for _, x := range images {
		for _, v := range x {
			flat = append(flat, float32(v))
		}
	}
	out, err := compute.FromHost(d, flat, len(images), 1, 1, len(images[0]))
	require.NoError(t, err)
	return out
}

func download(t *testing.T, d compute.Device, x compute.Tensor) [][]float64 {
	t.Helper()
	flat, err := compute.ToHost(d, x)
	require.NoError(t, err)
	out := make([][]float64, x.N)
	for i := range out {
		for _, v := range flat[i*x.Len() : (i+1)*x.Len()] {
			out[i] = append(out[i], float64(v))
		}
	}
	return out
}

func rounded(x []float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(float32(v))
	}
	return out
}

// The model is −σ_t times the derivatives of the log-density, rounded.
func TestModelIsTheCore(t *testing.T) {
	m, _ := between(t, 23, 0.5)
	table := []float64{0.99, 0.5, 0.01}
	model := newModel(t, m, table)
	c, h, w := model.Image()
	assert.Equal(t, []int{1, 1, 6, 3}, []int{c, h, w, model.Steps()})
	assert.False(t, model.LearnedVariance())
	dev := model.Device()

	rng := rand.New(rand.NewPCG(23, 2))
	draw := func(count int) (host [][]float64) {
		for range count {
			host = append(host, rounded(randomVec(6, rng)))
		}
		return host
	}
	for _, images := range []int{3, 1, 5} { // results change their size
		const directions = 2
		x, v, w, u := draw(images), draw(directions*images), draw(directions*images), draw(images)
		steps := []int{2, 0, 1, 1, 2}[:images]
		point, err := model.At(upload(t, dev, x), steps)
		require.NoError(t, err)
		vt := upload(t, dev, v)
		jvp, err := point.JVP(vt)
		require.NoError(t, err)
		second, err := point.Second(vt, upload(t, dev, w))
		require.NoError(t, err)
		square, err := point.VJP(upload(t, dev, u))
		require.NoError(t, err)
		out, gotJVP, gotSecond, gotVJP := download(t, dev, point.Out()), download(t, dev, jvp), download(t, dev, second), download(t, dev, square)
		require.Len(t, gotJVP, directions*images)
		for i := range directions * images {
			k := i % images
			l := at(t, m, x[k], table[steps[k]])
			sigma := math.Sqrt(1 - table[steps[k]])
			check := func(want, got []float64, name string) {
				floats.Scale(-sigma, want)
				assertClose(t, want, got, 1e-7, name)
			}
			check(l.Score(nil), out[k], "Out")
			check(l.HessianVec(nil, u[k]), gotVJP[k], "VJP")
			check(l.HessianVec(nil, v[i]), gotJVP[i], "JVP")
			check(l.Third(nil, v[i], w[i]), gotSecond[i], "Second")
		}
	}
}

// Views whose images are not adjacent are read as they are.
func TestModelReadsViews(t *testing.T) {
	m, x := between(t, 29, 0.5)
	model := newModel(t, m, []float64{0.5})
	wide := upload(t, model.Device(), [][]float64{{9, 9, 9, 9, 9, 9}, x, {9, 9, 9, 9, 9, 9}, x})
	wide = wide.Reshape(1, 1, 6)
	wide.Pitch, wide.N, wide.Off = 12, 2, 6
	point, err := model.At(wide, []int{0, 0})
	require.NoError(t, err)
	out := download(t, model.Device(), point.Out())
	assert.Equal(t, out[0], out[1])
	want := at(t, m, rounded(x), 0.5).Score(nil)
	floats.Scale(-math.Sqrt(0.5), want)
	assertClose(t, want, out[0], 1e-7, "ε")
}

func TestModelErrors(t *testing.T) {
	m, _ := between(t, 31, 0.5)
	dev := cpu.New(1)
	_, err := NewModel(m, nil, dev)
	assert.ErrorContains(t, err, "no timesteps")
	_, err = NewModel(m, []float64{0.5, 2}, dev)
	assert.ErrorContains(t, err, "timestep 1: mixture: alphaBar 2")
	_, err = NewModel(m, []float64{0.5}, nil)
	assert.ErrorContains(t, err, "no device")
	_, err = NewModel(&Mixture{}, []float64{0.5}, dev)
	assert.ErrorContains(t, err, "no components")

	model := newModel(t, m, []float64{0.9, 0.5})
	dev = model.Device().(*cpu.Device)
	zeros := func(n, c, h, w int) compute.Tensor {
		x, err := compute.FromHost(dev, make([]float32, n*c*h*w), n, c, h, w)
		require.NoError(t, err)
		return x
	}
	for want, c := range map[string]struct {
		x compute.Tensor
		t []int
	}{
		"1 timesteps for 2 images":     {zeros(2, 1, 1, 6), []int{0}},
		"timestep 2 of image 1":        {zeros(2, 1, 1, 6), []int{0, 2}},
		"timestep -1":                  {zeros(1, 1, 1, 6), []int{-1}},
		"2×1×1×5, want images 1×1×6":   {zeros(2, 1, 1, 5), []int{0, 0}},
		"2×6×1×1, want images 1×1×6":   {zeros(2, 6, 1, 1), []int{0, 0}},
		"At of 0 images":               {compute.Tensor{C: 1, H: 1, W: 6, Pitch: 6}, nil},
		"image 0: mixture: log-densit": {upload(t, dev, [][]float64{{0, 0, 0, math.NaN(), 0, 0}}), []int{0}},
	} {
		point, err := model.At(c.x, c.t)
		assert.ErrorContains(t, err, want)
		assert.Nil(t, point)
	}

	first, err := model.At(zeros(2, 1, 1, 6), []int{0, 1})
	require.NoError(t, err)
	for want, call := range map[string]func() (compute.Tensor, error){
		"JVP of a tensor 2×1×2×3": func() (compute.Tensor, error) { return first.JVP(zeros(2, 1, 2, 3)) },
		"JVP of 3 images":         func() (compute.Tensor, error) { return first.JVP(zeros(3, 1, 1, 6)) },
		"VJP of 4 images":         func() (compute.Tensor, error) { return first.VJP(zeros(4, 1, 1, 6)) },
		"want the same shape":     func() (compute.Tensor, error) { return first.Second(zeros(2, 1, 1, 6), zeros(4, 1, 1, 6)) },
		"in float32": func() (compute.Tensor, error) {
			big := []float64{3e38, 0, 0, 0, 0, 0}
			v := upload(t, dev, [][]float64{big, big})
			return first.Second(v, v)
		},
	} {
		_, err := call()
		assert.ErrorContains(t, err, want)
	}
	_, err = first.JVP(zeros(2, 1, 1, 6))
	require.NoError(t, err, "a refused call leaves the point valid")
	_, err = model.At(zeros(1, 1, 1, 6), []int{0})
	require.NoError(t, err)
	_, err = first.JVP(zeros(2, 1, 1, 6))
	assert.ErrorContains(t, err, "ended")
}

// failing is a device whose memory fails on demand.
type failing struct {
	*cpu.Device
	alloc, read error
}

func (f *failing) Alloc(n int) (compute.Buffer, error) {
	if f.alloc != nil {
		return nil, f.alloc
	}
	return f.Device.Alloc(n)
}

func (f *failing) Read(dst []float32, src compute.Tensor) error {
	if f.read != nil {
		return f.read
	}
	return f.Device.Read(dst, src)
}

func TestModelPassesOnDeviceFailures(t *testing.T) {
	m, x := between(t, 37, 0.5)
	dev := &failing{Device: cpu.New(1)}
	model, err := NewModel(m, []float64{0.5}, dev)
	require.NoError(t, err)
	input := upload(t, dev, [][]float64{x})
	dev.alloc = errors.New("out of memory")
	_, err = model.At(input, []int{0})
	assert.ErrorIs(t, err, dev.alloc)
	dev.alloc, dev.read = nil, errors.New("device lost")
	_, err = model.At(input, []int{0})
	assert.ErrorIs(t, err, dev.read)
	dev.read = nil
	_, err = model.At(input, []int{0})
	assert.NoError(t, err)
	model.Close()
	model.Close() // harmless
}

// Ancestral sampling with the exact ε, on the schedule of the published tables,
// draws from the prior: the sign and scale of ε and the ᾱ table fit together.
func TestReverseDiffusionDrawsFromThePrior(t *testing.T) {
	const steps, count = 200, 400
	problem, err := NewProblem(ProblemConfig{Components: 6, Dim: 8, Rows: 3, Seed: 3})
	require.NoError(t, err)
	beta, alphaBar, product := make([]float64, steps), make([]float64, steps), 1.0
	for i := range beta {
		beta[i] = 5e-4 + (0.1-5e-4)*float64(i)/(steps-1)
		product *= 1 - beta[i]
		alphaBar[i] = product
	}
	model := newModel(t, problem.Prior, alphaBar)
	rng := rand.New(rand.NewPCG(3, 5))
	x := make([][]float64, count)
	for i := range x {
		x[i] = randomVec(8, rng)
	}
	var point prior.Point
	for step := steps - 1; step >= 0; step-- {
		times := make([]int, count)
		for i := range times {
			times[i] = step
		}
		point, err = model.At(upload(t, model.Device(), x), times)
		require.NoError(t, err)
		previous := 1.0
		if step > 0 {
			previous = alphaBar[step-1]
		}
		std := math.Sqrt(beta[step] * (1 - previous) / (1 - alphaBar[step]))
		for i, eps := range download(t, model.Device(), point.Out()) {
			for j := range eps {
				mean := (x[i][j] - beta[step]/math.Sqrt(1-alphaBar[step])*eps[j]) / math.Sqrt(1-beta[step])
				x[i][j] = mean + std*rng.NormFloat64()
			}
		}
	}
	exact, err := problem.Prior.SamplePrior(2*count, rng)
	require.NoError(t, err)
	got, err := SlicedWasserstein(x, exact[:count], 200, rng)
	require.NoError(t, err)
	floor, err := SlicedWasserstein(exact[count:], exact[:count], 200, rng)
	require.NoError(t, err)
	assert.Less(t, got, 2*floor, "generated against exact samples; exact against exact: %g", floor)
}
