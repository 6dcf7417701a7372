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
// information I itself, in nats. probe fills z with the k-th Rademacher probe
// (±1, [n, Out]); it is not called by the Trace estimator. The result is valid
// until the next call.
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

// direction computes t.v from t.z, and estimates the information by Gauss
// quadrature with the same Krylov space.
func (t *Term) direction(d Denoiser, l Level) ([]float64, error) {
	t.op.Power(t.z, t.z, 0, 1, 1) // only what is measured
	base := 0.5 * (t.op.LogDet(l.R2(), l.sigmaY2()) - t.op.LogDet(0, l.sigmaY2()))
	information := make([]float64, t.n)
	for i := range information {
		information[i] = base
	}
	root := t.z
	if t.opt.Lanczos > 0 {
		krylov, err := arnoldi(t.dev, t.q, t.z, func(dst, q compute.Tensor) error { return t.whitened(dst, q, d, l) })
		if err != nil {
			return nil, err
		}
		floor := l.floor(t.op)
		coef := krylov.function(func(e float64) float64 {
			if e <= floor {
				return 0
			}
			return 1 / math.Sqrt(e)
		})
		krylov.combine(t.dev, t.u, coef)
		root = t.u
		for i, s := range krylov.quadrature(func(e float64) float64 { return math.Log(max(e, floor)) }) {
			information[i] += 0.5 * s
		}
	}
	t.op.Power(t.z, root, l.R2(), l.sigmaY2(), -0.5)
	t.op.Adjoint(t.v, t.z)
	return information, nil
}

// whitened is dst = Ŝ q, Ŝ = P^(−½) (c A J Aᵀ + σ_y² I) P^(−½), with
// P = r² A Aᵀ + σ_y² I.
func (t *Term) whitened(dst, q compute.Tensor, d Denoiser, l Level) error {
	t.op.Power(t.u, q, l.R2(), l.sigmaY2(), -0.5)
	t.op.Adjoint(t.v, t.u)
	jv, err := d.JVP(t.v)
	if err != nil {
		return err
	}
	t.op.Apply(dst, jv)
	t.dev.Combine(dst, compute.Times(l.C(), dst), compute.Times(l.sigmaY2(), t.u))
	t.op.Power(dst, dst, l.R2(), l.sigmaY2(), -0.5)
	return nil
}
