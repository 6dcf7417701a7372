package guide_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// trial is one step on a mixture, where everything is known in float64.
type trial struct {
	*guide.Step
	mix      *mixture.Mixture
	a        *mat.Dense
	y, x     [][]float64 // of each image
	alphaBar float64
	noise    []float32 // what Random gives
	failing  error     // what the denoiser's derivatives return, if not nil
	evaluate func()    // takes the network back to the step's state
}

const (
	dim, images = 8, 3
	radius      = 0.37 // of NoiseNorm
)

// newTrial measures a mixture in 8 dimensions, at a step where x̂0 has values inside
// and outside [−1, 1]. A nil matrix is three random rows; op, if any, is what is
// used for it.
func newTrial(t testing.TB, clips bool, index int, a *mat.Dense, op func(dev compute.Device) (measure.Linear, error)) *trial {
	t.Helper()
	dev := cpu.New(1)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	p, err := mixture.NewProblem(mixture.ProblemConfig{Components: 5, Dim: dim, Rows: 3, Std: 0.4, Seed: 8})
	require.NoError(t, err)
	if a == nil {
		a = p.A
	}
	if op == nil {
		op = func(dev compute.Device) (measure.Linear, error) { return measure.NewDense(dev, a) }
	}
	betas, err := diffusion.LinearBetas(50, 5e-3, 0.1)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 10)
	require.NoError(t, err)
	model, err := mixture.NewModel(p.Prior, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	t.Cleanup(model.Close)
	operator, err := op(dev)
	require.NoError(t, err)
	t.Cleanup(operator.Close)

	ws := compute.NewWorkspace(dev)
	t.Cleanup(ws.Free)
	tr := &trial{mix: p.Prior, a: a, alphaBar: schedule.AlphaBar(index)}
	rng := rand.New(rand.NewPCG(1, 2))
	rows, _ := a.Dims()
	var x, y, z []float32
	for i := range images {
		xi, yi := make([]float64, dim), make([]float64, rows)
		for k := range xi {
			xi[k] = 0.7*math.Sqrt(tr.alphaBar)*(p.Prior.Means[i][k]+p.Prior.Means[i+1][k]) + 0.3*math.Sqrt(1-tr.alphaBar)*rng.NormFloat64()
		}
		for k := range yi {
			yi[k] = rng.NormFloat64()
		}
		x, y = append(x, narrow(xi)...), append(y, narrow(yi)...)
		tr.x, tr.y = append(tr.x, wide(narrow(xi))), append(tr.y, wide(narrow(yi)))
	}
	for range images * dim {
		z = append(z, float32(rng.NormFloat64()))
	}
	image := func() compute.Tensor { return ws.New(images, 1, 1, dim) }
	oc, oh, ow := operator.Out()
	tr.Step = &guide.Step{
		Device: dev, Work: ws, Schedule: schedule, Index: index, Operator: operator, A: operator, SigmaY: 0.2,
		Y: ws.FromHost(y, images, oc, oh, ow), X: ws.FromHost(x, images, 1, 1, dim),
		X0: image(), Proposal: image(), Mean: image(), Next: image(), Clips: clips, Guidance: make([]float64, images),
	}
	require.NoError(t, ws.Err())
	tweedie := prior.NewTweedie(model)
	t.Cleanup(tweedie.Close)
	tr.Epsilon, err = tweedie.At(tr.X, schedule, index, tr.X0)
	require.NoError(t, err)
	again := image()
	tr.evaluate = func() {
		_, err := tweedie.At(tr.X, schedule, index, again)
		require.NoError(t, err)
	}
	own := image() // the network's is overwritten by Evaluate
	dev.Combine(own, compute.Times(1, tr.Epsilon))
	tr.Epsilon = own
	tr.Denoiser = denoiser{tweedie, tr}
	tr.Evaluate = func(x0, x compute.Tensor, index int) (compute.Tensor, error) {
		if tr.failing != nil {
			return x, tr.failing
		}
		return tweedie.At(x, schedule, index, x0)
	}
	tr.EvaluateAt = func(x0, x compute.Tensor, timesteps []int) error {
		if tr.failing != nil {
			return tr.failing
		}
		return tweedie.AtTimesteps(x, schedule, timesteps, x0)
	}
	variance := make([]float32, images*dim)
	for i := range variance {
		variance[i] = float32(2*rng.Float64() - 1)
	}
	tr.Variance = ws.FromHost(variance, images, 1, 1, dim)
	for k := range 3 { // what a method carries
		host := make([]float32, images*dim)
		for i := range host {
			host[i] = float32(0.02*math.Abs(rng.NormFloat64())*float64(1-k) + 0.001*float64(k)*float64(1+i%5))
		}
		tr.Carried, tr.NextCarried = append(tr.Carried, ws.FromHost(host, images, 1, 1, dim)), append(tr.NextCarried, image())
	}
	require.NoError(t, ws.Err())
	tr.Clipped = tr.X0
	if clips {
		tr.Clipped = image()
		dev.Map(tr.Clipped, compute.Clamp(-1, 1), tr.X0)
	}
	noise := ws.FromHost(z, images, 1, 1, dim)
	tr.Propose = func(sample, mean, x0 compute.Tensor) {
		c0, ct := schedule.DDPM(index)
		dev.Combine(mean, compute.Times(c0, x0), compute.Times(ct, tr.X))
		dev.Combine(sample, compute.Times(1, mean), compute.Times(radius/math.Sqrt(dim), noise))
	}
	tr.Propose(tr.Proposal, tr.Mean, tr.Clipped)
	tr.NoiseNorm = func() ([]float64, error) { return []float64{radius, radius, radius}, nil }
	for range images * dim {
		tr.noise = append(tr.noise, float32(rng.NormFloat64()))
	}
	tr.Random = func(z []float32, _ int) { copy(z, tr.noise) }
	return tr
}

// denoiser fails where the trial does.
type denoiser struct {
	prior.Denoiser
	tr *trial
}

func (d denoiser) VJP(u compute.Tensor) (compute.Tensor, error) {
	if d.tr.failing != nil {
		return compute.Tensor{}, d.tr.failing
	}
	return d.Denoiser.VJP(u)
}

func (d denoiser) JVP(v compute.Tensor) (compute.Tensor, error) {
	if d.tr.failing != nil {
		return compute.Tensor{}, d.tr.failing
	}
	return d.Denoiser.JVP(v)
}

// run takes the step and gives what it added to the proposal, image by image.
func (tr *trial) run(t testing.TB, m guide.Method) [][]float64 {
	t.Helper()
	tr.Device.Combine(tr.Next, compute.Times(math.NaN(), tr.Next)) // all of it must be written
	for i := range tr.Guidance {
		tr.Guidance[i] = math.NaN()
	}
	tr.evaluate()
	require.NoError(t, m.Step(tr.Step))
	next, proposal := tr.read(t, tr.Next), tr.read(t, tr.Proposal)
	for i := range next {
		floats.Sub(next[i], proposal[i])
	}
	return next
}

func (tr *trial) read(t testing.TB, x compute.Tensor) [][]float64 {
	t.Helper()
	v, err := compute.ToHost(tr.Device, x)
	require.NoError(t, err)
	var out [][]float64
	for i := range x.N {
		out = append(out, wide(v[i*x.Len():(i+1)*x.Len()]))
	}
	return out
}

// slope returns the gradient at an image's x_t of a function of the exact p(x0|x_t), by
// central differences of order four.
func (tr *trial) slope(t testing.TB, image int, f func(l *mixture.Local) float64) []float64 {
	t.Helper()
	at := func(k int, h float64) float64 {
		x := append([]float64(nil), tr.x[image]...)
		x[k] += h
		l, err := tr.mix.At(x, tr.alphaBar)
		require.NoError(t, err)
		return f(l)
	}
	const h = 1e-3
	out := make([]float64, dim)
	for k := range out {
		out[k] = (8*(at(k, h)-at(k, -h)) - (at(k, 2*h) - at(k, -2*h))) / (12 * h)
	}
	return out
}

// innovation is y − A x̂0 of an image, x̂0 clipped or not.
func (tr *trial) innovation(image int, l *mixture.Local, clip bool) *mat.VecDense {
	x0 := l.Tweedie(nil)
	if clip {
		for k, v := range x0 {
			x0[k] = min(max(v, -1), 1)
		}
	}
	r := mat.NewVecDense(len(tr.y[image]), nil)
	r.MulVec(tr.a, mat.NewVecDense(dim, x0))
	r.SubVec(mat.NewVecDense(len(tr.y[image]), tr.y[image]), r)
	return r
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

func relative(got, want []float64) float64 {
	return floats.Distance(got, want, 2) / floats.Norm(want, 2)
}

func scaled(c float64, v []float64) []float64 {
	return floats.ScaleTo(make([]float64, len(v)), c, v)
}
