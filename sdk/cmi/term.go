package cmi

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Term estimates ∇I for a batch of images on a device.
type Term struct {
	dev   compute.Device
	ws    *compute.Workspace
	op    measure.Linear
	opt   Options
	dense *dense.Estimator // nil for Probe, which what follows is for
	space *krylov.Space
	z     compute.Tensor // [n, Out] a probe
	host  []float32      // its values
	norm  []float64      // ‖z‖ of each image, which is the same for all probes
	grad  compute.Tensor // [n, In]
}

// New allocates a term for n images.
func New(dev compute.Device, op measure.Linear, n int, opt Options) (*Term, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	t := &Term{dev: dev, ws: compute.NewWorkspace(dev), op: op, opt: opt}
	if err := t.allocate(n); err != nil {
		t.ws.Free()
		return nil, fmt.Errorf("the information term: %w", err)
	}
	return t, nil
}

func (t *Term) allocate(n int) (err error) {
	if t.opt.Estimator != Probe {
		t.dense, err = dense.New(t.dev, t.ws, t.op, n, string(t.opt.Estimator), t.opt.Probes)
		return err
	}
	t.space = krylov.New(t.dev, t.ws, t.op, n, t.opt.Lanczos)
	c, h, w := t.op.Out()
	t.z = t.ws.New(n, c, h, w)
	c, h, w = t.op.In()
	t.grad = t.ws.New(n, c, h, w)
	if err := t.ws.Err(); err != nil {
		return err
	}
	t.host = make([]float32, n*t.z.Len())
	for i := range t.host {
		t.host[i] = 1
	}
	t.load(t.host)
	t.norm, err = compute.Norms(t.dev, t.z)
	return err
}

// Close frees the term's memory.
func (t *Term) Close() { t.ws.Free() }

// Gradient is ∇I at the denoiser's point for each image, and an estimate of the
// information I itself, in nats: from the dense estimators I, from Probe that of
// an isotropic covariance τ² I, τ² the mean posterior variance that the probes'
// first JVPs find in the measured directions (r² where Lanczos is 0). probe fills
// z with the k-th Rademacher probe of ±1: [n, Out], for TwoTrace [n, In]; it is not
// called by Trace. The result, [n, In], is valid until the next call; see
// [Options.Limit] for one that is not finite.
func (t *Term) Gradient(d prior.Denoiser, l krylov.Level, probe func(k int, z []float32)) (grad compute.Tensor, information []float64, err error) {
	if t.dense != nil {
		return t.dense.Gradient(d, l, probe)
	}
	information = make([]float64, t.z.N)
	for k := range t.opt.Probes {
		probe(k, t.host)
		_, variance, err := t.direction(d, l, t.host)
		if err != nil {
			return t.grad, nil, err
		}
		for i, tau2 := range variance {
			a := measure.Of(t.op, i)
			nats := 0.5 * (measure.LogDet(a, tau2, l.S2()) - measure.LogDet(a, 0, l.S2()))
			information[i] += nats / float64(t.opt.Probes)
		}
		second, err := t.space.Second(d)
		if err != nil {
			return t.grad, nil, err
		}
		share := compute.Times(0.5*l.C()/float64(t.opt.Probes), second)
		if k == 0 {
			t.dev.Combine(t.grad, share)
		} else {
			t.dev.Combine(t.grad, compute.Times(1, t.grad), share)
		}
	}
	return t.grad, information, nil
}

// Direction is v = Aᵀ P^(−½) Ŝ^(−½) z of one probe z of ±1, [n, Out], by K Lanczos steps:
// the direction whose jet Probe takes.
func (t *Term) Direction(d prior.Denoiser, l krylov.Level, z []float32) (compute.Tensor, error) {
	v, _, err := t.direction(d, l, z)
	return v, err
}

func (t *Term) direction(d prior.Denoiser, l krylov.Level, z []float32) (v compute.Tensor, variance []float64, err error) {
	t.load(z)
	return t.space.InverseRoot(d, l, t.z, t.norm)
}

// load writes a probe to the device, without what is not measured.
func (t *Term) load(z []float32) {
	t.dev.Write(t.z, z)
	t.op.Scale(t.z, t.z, 1)
}

// Limit returns the coefficient of ∇I for each image: w, or less where ‖w ∇I‖ is beyond
// the trust radius, see [Options.Radius]; limited says for which images. gradient, std and
// guidance are norms of each image; std may be nil without TrustStd. A ‖∇I‖ that is not
// finite is an error.
func (o Options) Limit(w float64, gradient, std, guidance []float64) (coef []float64, limited []bool, err error) {
	coef, limited = make([]float64, len(gradient)), make([]bool, len(gradient))
	for i, norm := range gradient {
		if math.IsNaN(norm) || math.IsInf(norm, 0) {
			return nil, nil, fmt.Errorf("the information gradient is not finite at image %d: raise the window's alpha-bar or lower Lanczos steps", i)
		}
		sigma := 0.0
		if std != nil {
			sigma = std[i]
		}
		coef[i] = w
		radius := o.Radius(sigma, guidance[i])
		if length := math.Abs(w) * norm; length > radius {
			coef[i] *= radius / length
			limited[i] = true
		}
	}
	return coef, limited, nil
}
