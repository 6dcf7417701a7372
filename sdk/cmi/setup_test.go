package cmi_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// host is a denoiser of any Jacobian and second derivative, computed in float64.
// A result turns to NaN at the next call of its method, so that nothing may be
// kept longer than the contract allows.
type host struct {
	dev    compute.Device
	ws     *compute.Workspace
	images int
	jvp    func(image int, dst, v []float64)
	second func(image int, dst, v, w []float64)

	last          map[string]compute.Tensor
	jvps, seconds int // directions so far
}

func newHost(t testing.TB, dev compute.Device, images int) *host {
	h := &host{dev: dev, ws: compute.NewWorkspace(dev), images: images, last: map[string]compute.Tensor{}}
	t.Cleanup(h.ws.Free)
	return h
}

func (h *host) JVP(v compute.Tensor) (compute.Tensor, error) {
	h.jvps += v.N
	return h.apply("JVP", []compute.Tensor{v}, func(i int, dst []float64, a [][]float64) { h.jvp(i, dst, a[0]) })
}

func (h *host) Second(v, w compute.Tensor) (compute.Tensor, error) {
	h.seconds += v.N
	return h.apply("Second", []compute.Tensor{v, w}, func(i int, dst []float64, a [][]float64) { h.second(i, dst, a[0], a[1]) })
}

func (h *host) VJP(compute.Tensor) (compute.Tensor, error) { panic("the term takes no adjoint") }

func (h *host) JVPCached(_ int, v compute.Tensor) (compute.Tensor, error) { return h.JVP(v) }

func (h *host) SecondAlong(v compute.Tensor, _ [][]float64) (compute.Tensor, error) {
	return h.Second(v, v)
}

func (h *host) apply(name string, args []compute.Tensor, f func(image int, dst []float64, args [][]float64)) (compute.Tensor, error) {
	if old, ok := h.last[name]; ok {
		h.dev.Combine(old, compute.Times(math.NaN(), old))
	}
	n, size := args[0].N, args[0].Len()
	values := make([][]float64, len(args))
	for k, a := range args {
		v, err := compute.ToHost(h.dev, a)
		if err != nil {
			return compute.Tensor{}, err
		}
		values[k] = wide(v)
	}
	out := make([]float64, n*size)
	for i := range n {
		image := make([][]float64, len(args))
		for k := range args {
			image[k] = values[k][i*size : (i+1)*size]
		}
		f(i%h.images, out[i*size:(i+1)*size], image)
	}
	r := h.ws.FromHost(narrow(out), n, args[0].C, args[0].H, args[0].W)
	h.last[name] = r
	return r, h.ws.Err()
}

// problem is a measurement of a mixture at one point x_t or more, with everything
// exact.
type problem struct {
	*mixture.Problem
	dev    compute.Device
	op     measure.Linear
	level  krylov.Level
	points [][]float64
	locals []*mixture.Local
}

// size of a problem's random parts. The rows of A are not orthogonal, so that the
// preconditioner differs from a multiple of the identity.
type size struct{ components, dim, rows int }

// newProblem measures a mixture at points x_t between two of its components, where
// the covariance is far from isotropic and the information has a gradient.
func newProblem(t testing.TB, s size, alphaBar float64, images int) *problem {
	t.Helper()
	p, err := mixture.NewProblem(mixture.ProblemConfig{Components: s.components, Dim: s.dim, Rows: s.rows, Std: 0.3, SigmaY: 0.2, Seed: 3})
	require.NoError(t, err)
	dev := device(t)
	op, err := measure.NewDense(dev, p.A)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	out := &problem{Problem: p, dev: dev, op: op, level: krylov.Level{AlphaBar: alphaBar, SigmaY: p.SigmaY}}
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range images {
		x := make([]float64, s.dim)
		floats.AddScaled(x, 0.55*math.Sqrt(alphaBar), p.Prior.Means[i%s.components])
		floats.AddScaled(x, 0.45*math.Sqrt(alphaBar), p.Prior.Means[(i+1)%s.components])
		for k := range x {
			x[k] += 0.1 * math.Sqrt(1-alphaBar) * rng.NormFloat64()
		}
		out.add(t, x)
	}
	return out
}

func (p *problem) add(t testing.TB, x []float64) {
	t.Helper()
	l, err := p.Prior.At(x, p.level.AlphaBar)
	require.NoError(t, err)
	p.points, p.locals = append(p.points, x), append(p.locals, l)
}

// denoiser returns the exact Tweedie mean at the given points, all of them for none.
func (p *problem) denoiser(t testing.TB, at ...int) *host {
	if at == nil {
		for i := range p.locals {
			at = append(at, i)
		}
	}
	h := newHost(t, p.dev, len(at))
	h.jvp = func(i int, dst, v []float64) { p.locals[at[i]].TweedieJVP(dst, v) }
	h.second = func(i int, dst, v, w []float64) { p.locals[at[i]].TweedieSecond(dst, v, w) }
	return h
}

// exact is I and ∇I at a point, in closed form.
func (p *problem) exact(t testing.TB, image int) (information float64, gradient []float64) {
	t.Helper()
	gradient = make([]float64, p.Prior.Dim())
	information, err := p.locals[image].Information(gradient, p.A, p.SigmaY)
	require.NoError(t, err)
	return information, gradient
}

// options returns the term as it is judged: everywhere, without a radius.
func options(e cmi.Estimator, lanczos, probes int) cmi.Options {
	return cmi.Options{Eta: 1, Weighting: cmi.Beta, Estimator: e, Probes: probes, Lanczos: lanczos, MaxAlphaBar: 1, Every: 1}
}

func newTerm(t testing.TB, dev compute.Device, op measure.Linear, images int, o cmi.Options) *cmi.Term {
	t.Helper()
	term, err := cmi.New(dev, op, images, o)
	require.NoError(t, err)
	t.Cleanup(term.Close)
	return term
}

// covariances are c A J Aᵀ of each image.
func covariances(t testing.TB, dev compute.Device, op measure.Linear, d *host, l krylov.Level) []dense.Covariance {
	t.Helper()
	ws := compute.NewWorkspace(dev)
	t.Cleanup(ws.Free)
	e, err := dense.New(dev, ws, op, d.images, dense.Trace, 1)
	require.NoError(t, err)
	c, err := e.Covariance(d, l)
	require.NoError(t, err)
	return c
}

// gradient is ∇I of each image by a term, on the host.
func (p *problem) gradient(t testing.TB, d *host, o cmi.Options, probe func(k int, z []float32)) (gradient [][]float64, information []float64) {
	t.Helper()
	g, information, err := newTerm(t, p.dev, p.op, d.images, o).Gradient(d, p.level, probe)
	require.NoError(t, err)
	return split(t, p.dev, g), information
}

// signs writes into z the k-th of the patterns of ±1: over all 2^len(z) of them the
// mean of z zᵀ is the identity, so that a mean over all is an expectation.
func signs(k int, z []float32) {
	for i := range z {
		z[i] = float32(2*(k>>i&1) - 1)
	}
}

// random ±1 by seed.
func random(seed uint64, z []float32) {
	rng := rand.New(rand.NewPCG(seed, 9))
	for i := range z {
		z[i] = float32(2*rng.IntN(2) - 1)
	}
}

func device(t testing.TB) compute.Device {
	t.Helper()
	dev := cpu.New(2)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return dev
}

// split reads a tensor, one slice for each image.
func split(t testing.TB, dev compute.Device, x compute.Tensor) [][]float64 {
	t.Helper()
	v, err := compute.ToHost(dev, x)
	require.NoError(t, err)
	var out [][]float64
	for i := range x.N {
		out = append(out, wide(v[i*x.Len():(i+1)*x.Len()]))
	}
	return out
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

// relative returns ‖got − want‖/‖want‖.
func relative(got, want []float64) float64 {
	e := floats.Distance(got, want, 2) / floats.Norm(want, 2)
	if math.IsNaN(e) {
		return math.Inf(1)
	}
	return e
}

func mean(rows [][]float64) []float64 {
	out := make([]float64, len(rows[0]))
	for _, r := range rows {
		floats.AddScaled(out, 1/float64(len(rows)), r)
	}
	return out
}

// function is f of a symmetric matrix.
func function(t testing.TB, m *mat.SymDense, f func(e float64) float64) *mat.Dense {
	t.Helper()
	var e mat.EigenSym
	require.True(t, e.Factorize(m, true))
	n := m.SymmetricDim()
	values := mat.NewDiagDense(n, nil)
	for i, v := range e.Values(nil) {
		values.SetDiag(i, f(v))
	}
	var q, out mat.Dense
	e.VectorsTo(&q)
	out.Product(&q, values, q.T())
	return &out
}

// symmetric is (m + mᵀ)/2.
func symmetric(m mat.Matrix) *mat.SymDense {
	n, _ := m.Dims()
	s := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			s.SetSym(i, j, (m.At(i, j)+m.At(j, i))/2)
		}
	}
	return s
}
