// Package study measures the information term of package cmi at single states of a sampler: whether
// its estimate is right, and how it goes together with the other parts of a Gaussian evidence's gradient. Under
// p(x0|x_t) ≈ N(x̂0, Σ), Σ = c J, the evidence N(y; A x̂0, S), S = A Σ Aᵀ + σ_y² I, has the gradient
//
//	∇ log N = Jᵀw + C(r) − ∇I,  C(r) = ½ c D²x̂0[w, w],  w = AᵀS⁻¹r,  r = y − A x̂0
//
// and where r ~ N(0, S), w has the covariance AᵀS⁻¹A of a probe's direction v, so that the curvature C(r)
// is an estimate of ∇I by one probe: the innovation's. docs/cmi-study.md says what is asked with that.
package study

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Lens looks at one state x_t of one image. Close it. It belongs to one goroutine.
type Lens struct {
	dev      compute.Device
	ws       *compute.Workspace
	op       measure.Linear
	schedule *diffusion.Schedule
	x0       *prior.Tweedie
	level    krylov.Level
	spaces   map[int]*krylov.Space // by the number of Lanczos steps
	x, mean  compute.Tensor        // [1, In] the state and x̂0
	z        compute.Tensor        // [1, Out]
	sigmaY   float64
	exact    *dense.Estimator
}

// NewLens allocates for a model and an operator, which stay the caller's.
func NewLens(m prior.Model, op measure.Linear, s *diffusion.Schedule, sigmaY float64) (*Lens, error) {
	dev := m.Device()
	l := &Lens{dev: dev, ws: compute.NewWorkspace(dev), op: op, schedule: s, x0: prior.NewTweedie(m), spaces: map[int]*krylov.Space{}, sigmaY: sigmaY}
	c, h, w := op.In()
	l.x, l.mean = l.ws.New(1, c, h, w), l.ws.New(1, c, h, w)
	c, h, w = op.Out()
	l.z = l.ws.New(1, c, h, w)
	var err error
	if l.exact, err = dense.New(dev, l.ws, op, 1, dense.Trace, 1); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close frees the lens's memory.
func (l *Lens) Close() {
	l.x0.Close()
	l.ws.Free()
}

// Passes returns the number of network passes so far, in forwards.
func (l *Lens) Passes() int { return l.x0.Passes }

// Interrupt is called before each derivative, which returns its error.
func (l *Lens) Interrupt(by func() error) { l.x0.Interrupt = by }

// At looks at x, [In], the state before step index of the schedule.
func (l *Lens) At(x []float32, index int) error {
	l.dev.Write(l.x, x)
	l.level = krylov.Level{AlphaBar: l.schedule.AlphaBar(index), SigmaY: l.sigmaY}
	_, err := l.x0.At(l.x, l.schedule, index, l.mean)
	return err
}

// space returns that of k Lanczos steps.
func (l *Lens) space(k int) (*krylov.Space, error) {
	if l.spaces[k] == nil {
		l.spaces[k] = krylov.New(l.dev, l.ws, l.op, 1, k)
	}
	return l.spaces[k], l.ws.Err()
}

// Jet is ½ c D²x̂0[v, v] along a direction, with the direction's squared norm.
type Jet struct {
	Vector []float64 // [In]
	Length float64   // ‖v‖²
}

// Probe is the estimate of ∇I by one probe z, [Out], by k Lanczos steps: as package cmi's Probe.
func (l *Lens) Probe(z []float32, k int) (Jet, error) {
	space, err := l.space(k)
	if err != nil {
		return Jet{}, err
	}
	l.dev.Write(l.z, z)
	l.op.Scale(l.z, l.z, 1)
	norm, err := compute.Norms(l.dev, l.z)
	if err != nil {
		return Jet{}, err
	}
	v, _, err := space.InverseRoot(l.x0, l.level, l.z, norm)
	if err != nil {
		return Jet{}, err
	}
	return l.jet(space, v)
}

// Curvature is C(r) at the innovation r = y − A x̂0, by k ≥ 1 Krylov steps.
func (l *Lens) Curvature(y []float32, k int) (Jet, error) {
	space, err := l.space(k)
	if err != nil {
		return Jet{}, err
	}
	measured := l.ws.ScratchLike("y", l.z)
	if err := l.ws.Err(); err != nil {
		return Jet{}, err
	}
	l.dev.Write(measured, y)
	l.op.Apply(l.z, l.mean)
	l.dev.Combine(l.z, compute.Times(1, measured), compute.Times(-1, l.z))
	w, err := space.Solve(l.x0, l.level, l.z, true)
	if err != nil {
		return Jet{}, err
	}
	return l.jet(space, w)
}

func (l *Lens) jet(space *krylov.Space, v compute.Tensor) (j Jet, err error) {
	norm, err := compute.Norms(l.dev, v)
	if err != nil {
		return j, err
	}
	second, err := space.Second(l.x0)
	if err != nil {
		return j, err
	}
	j.Length = norm[0] * norm[0]
	j.Vector, err = l.host(second, 0.5*l.level.C())
	return j, err
}

func (l *Lens) host(t compute.Tensor, scale float64) ([]float64, error) {
	values, err := compute.ToHost(l.dev, t)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(values))
	for i, v := range values {
		if out[i] = scale * float64(v); out[i]-out[i] != 0 {
			return nil, fmt.Errorf("a second derivative is not finite at alpha-bar %.3g", l.level.AlphaBar)
		}
	}
	return out, nil
}

// Trace is ∇I without probes, from the eigenvectors of A Σ Aᵀ, symmetrised.
type Trace struct {
	// Gradient is that of I = ½ Σ log(1 + max(e, 0)/σ_y²): eigenvalues e ≤ 0, which a covariance has
	// not, take no part.
	Gradient []float64
	// Negative is what they would add with the weight 1/σ_y² of no variance.
	Negative    []float64
	Information float64 // I, in nats
	Eigenvalues int
	NotPositive int // of them
}

// Exact computes the trace: a JVP and a jet for each measured value. A problem of more than
// [dense.Limit] is an error.
func (l *Lens) Exact() (t Trace, err error) {
	all, err := l.exact.Covariance(l.x0, l.level)
	if err != nil {
		return t, err
	}
	c := all[0]
	if t.Information, err = c.Information(l.level); err != nil {
		return t, err
	}
	var e mat.EigenSym
	if !e.Factorize(c.Matrix, true) {
		return t, fmt.Errorf("the eigenvalues of A Σ Aᵀ do not converge")
	}
	values := e.Values(nil)
	var vectors mat.Dense
	e.VectorsTo(&vectors)
	ic, ih, iw := l.op.In()
	t.Gradient, t.Negative, t.Eigenvalues = make([]float64, ic*ih*iw), make([]float64, ic*ih*iw), len(values)
	row := make([]float32, l.z.Len())
	for first := 0; first < len(values); first += dense.Directions {
		n := min(dense.Directions, len(values)-first)
		v := l.ws.Scratch(fmt.Sprintf("%d directions", n), n, ic, ih, iw)
		if err := l.ws.Err(); err != nil {
			return t, err
		}
		for k := range n { // v_k = Aᵀq_k
			clear(row)
			for a, at := range c.Measured {
				row[at] = float32(vectors.At(a, first+k))
			}
			l.dev.Write(l.z, row)
			l.op.Adjoint(v.Images(k, k+1), l.z)
		}
		second, err := l.x0.Second(v, v)
		if err != nil {
			return t, err
		}
		for k := range n {
			into, weight := t.Gradient, 1/(values[first+k]+l.level.S2())
			if values[first+k] <= 0 {
				into, weight = t.Negative, 1/l.level.S2()
				t.NotPositive++
			}
			jet, err := l.host(second.Images(k, k+1), 0.5*l.level.C()*weight)
			if err != nil {
				return t, err
			}
			for p, g := range jet {
				into[p] += g
			}
		}
	}
	return t, nil
}

// Information is I at the state, in nats: [Trace.Information] without the gradient, a JVP for
// each measured value.
func (l *Lens) Information() (float64, error) {
	all, err := l.exact.Covariance(l.x0, l.level)
	if err != nil {
		return 0, err
	}
	return all[0].Information(l.level)
}
