package cmi

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Term estimates ∇I for a batch of images on a device.
type Term struct {
	space
	opt  Options
	n    int
	ws   *compute.Workspace
	grad compute.Tensor // [n, In]
	norm []float64      // of each image's grad
	host []float32
}

// New allocates a term for n images.
func New(dev compute.Device, op Operator, n int, opt Options) (*Term, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	t := &Term{opt: opt, n: n, ws: compute.NewWorkspace(dev)}
	t.space = newSpace(dev, t.ws, op, n, opt.Lanczos, true)
	t.grad = t.ws.Like(t.v)
	t.host = make([]float32, n*t.z.Len())
	if err := t.ws.Err(); err != nil {
		t.ws.Free()
		return nil, fmt.Errorf("the information term: %w", err)
	}
	return t, nil
}

// Close frees the term's memory.
func (t *Term) Close() { t.ws.Free() }

// Gradient is ∇I at the denoiser's point for each image, and an estimate of the
// information I itself, in nats: from the dense estimators I, from Probe that of
// an isotropic covariance τ² I, τ² the mean posterior variance that the probes'
// first JVPs find in the measured directions (r² where Lanczos is 0). probe fills
// z with the k-th Rademacher probe of ±1: [n, Out], for TwoTrace [n, In]; it is not
// called by Trace. The result, [n, In], is valid until the next call; one that is not
// finite is an error.
func (t *Term) Gradient(d Denoiser, l Level, probe func(k int, z []float32)) (grad compute.Tensor, information []float64, err error) {
	estimate := t.probe
	if t.opt.Estimator != Probe {
		estimate = t.dense
	}
	if grad, information, err = estimate(d, l, probe); err != nil {
		return grad, nil, err
	}
	if t.norm, err = compute.Norms(t.dev, grad); err != nil {
		return grad, nil, err
	}
	for i, length := range t.norm {
		if math.IsNaN(length) || math.IsInf(length, 0) {
			return grad, nil, fmt.Errorf("the information gradient is not finite at image %d: raise the window's alpha-bar or lower Lanczos steps", i)
		}
	}
	return grad, information, nil
}

// Norms is ‖∇I‖ of each image, as [Term.Gradient] found it last.
func (t *Term) Norms() []float64 { return t.norm }

// probe is Gradient by Rademacher probes.
func (t *Term) probe(d Denoiser, l Level, probe func(k int, z []float32)) (grad compute.Tensor, information []float64, err error) {
	information = make([]float64, t.n)
	for k := range t.opt.Probes {
		probe(k, t.host)
		t.dev.Write(t.z, t.host)
		info, err := t.direction(d, l)
		if err != nil {
			return t.grad, nil, err
		}
		for i := range information {
			information[i] += info[i] / float64(t.opt.Probes)
		}
		second, err := t.second(d)
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

// Direction is v = Aᵀ P^(−½) Ŝ^(−½) z of one probe z [n, Out] by K Lanczos steps,
// the direction whose jet [Term.Gradient] takes.
func (t *Term) Direction(d Denoiser, l Level, z []float32) (compute.Tensor, error) {
	t.dev.Write(t.z, z)
	_, err := t.direction(d, l)
	return t.v, err
}

// direction computes t.v from t.z, and estimates the information.
func (t *Term) direction(d Denoiser, l Level) ([]float64, error) {
	t.op.Power(t.z, t.z, 0, 1, 1) // only what is measured
	variance := make([]float64, t.n)
	for i := range variance {
		variance[i] = l.R2()
	}
	if err := t.function(d, l, func(e float64) float64 { return 1 / math.Sqrt(e) }, variance); err != nil {
		return nil, err
	}
	information := make([]float64, t.n)
	for i, tau2 := range variance {
		information[i] = 0.5 * (logDet(t.op, i, tau2, l.sigmaY2()) - logDet(t.op, i, 0, l.sigmaY2()))
	}
	return information, nil
}
