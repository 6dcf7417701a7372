package cmi

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Term estimates ∇I for a batch of images on a device.
type Term struct {
	dev compute.Device
	op  Operator
	opt Options
	n   int
	ws  *compute.Workspace

	grad compute.Tensor // [n, In]
	v    compute.Tensor // [n, In]: the probe's direction
	z    compute.Tensor // [n, Out]
	u    compute.Tensor // [n, Out]
	q    []compute.Tensor
	host []float32
}

// New allocates a term for n images.
func New(dev compute.Device, op Operator, n int, opt Options) (*Term, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	t := &Term{dev: dev, op: op, opt: opt, n: n, ws: compute.NewWorkspace(dev)}
	c, h, w := op.In()
	t.grad, t.v = t.ws.New(n, c, h, w), t.ws.New(n, c, h, w)
	c, h, w = op.Out()
	t.z, t.u = t.ws.New(n, c, h, w), t.ws.New(n, c, h, w)
	for range opt.Lanczos {
		t.q = append(t.q, t.ws.New(n, c, h, w))
	}
	t.host = make([]float32, n*c*h*w)
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
// z with the k-th Rademacher probe (±1, [n, Out]); it is not called by Trace. The
// result is valid until the next call.
func (t *Term) Gradient(d Denoiser, l Level, probe func(k int, z []float32)) (grad compute.Tensor, information []float64, err error) {
	if t.opt.Estimator != Probe {
		return t.dense(d, l, probe)
	}
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
		second, err := d.Second(t.v, t.v)
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
	root := t.z
	if t.opt.Lanczos > 0 {
		krylov, err := arnoldi(t.dev, t.q, t.z, func(dst, q compute.Tensor) error {
			return t.whitened(dst, q, d, l, variance)
		})
		if err != nil {
			return nil, err
		}
		floor := l.floor(t.op)
		krylov.combine(t.dev, t.u, krylov.function(func(e float64) float64 {
			if e <= floor {
				return 0
			}
			return 1 / math.Sqrt(e)
		}))
		root = t.u
	}
	t.op.Power(t.z, root, l.R2(), l.sigmaY2(), -0.5)
	t.op.Adjoint(t.v, t.z)
	information := make([]float64, t.n)
	for i, tau2 := range variance {
		information[i] = 0.5 * (t.op.LogDet(tau2, l.sigmaY2()) - t.op.LogDet(0, l.sigmaY2()))
	}
	return information, nil
}

// whitened is dst = Ŝ q, Ŝ = P^(−½) (c A J Aᵀ + σ_y² I) P^(−½), with
// P = r² A Aᵀ + σ_y² I. For the basis' first vector it also measures the posterior
// variance vᵀΣv/vᵀv along v = Aᵀ P^(−½) q.
func (t *Term) whitened(dst, q compute.Tensor, d Denoiser, l Level, variance []float64) error {
	t.op.Power(t.u, q, l.R2(), l.sigmaY2(), -0.5)
	t.op.Adjoint(t.v, t.u)
	jv, err := d.JVP(t.v)
	if err != nil {
		return err
	}
	if q == t.q[0] {
		vJv, err := t.dev.Dot(t.v, jv)
		if err != nil {
			return err
		}
		vv, err := t.dev.Dot(t.v, t.v)
		if err != nil {
			return err
		}
		for i := range variance {
			variance[i] = 0
			if vJv[i] > 0 && vv[i] > 0 {
				variance[i] = l.C() * vJv[i] / vv[i]
			}
		}
	}
	t.op.Apply(dst, jv)
	t.dev.Combine(dst, compute.Times(l.C(), dst), compute.Times(l.sigmaY2(), t.u))
	t.op.Power(dst, dst, l.R2(), l.sigmaY2(), -0.5)
	return nil
}
