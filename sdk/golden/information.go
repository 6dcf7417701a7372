package golden

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/cmi/dense"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// informationCases checks information/TASK: the Tweedie mean, the probe's
// directions by K Lanczos steps and exactly, ∇I for each, the exact trace, and I.
func informationCases(dir fs.FS, o Options) ([]computetest.Case, error) {
	files, err := fs.Glob(dir, "information/*.safetensors")
	if err != nil {
		return nil, err
	}
	var cases []computetest.Case
	for _, file := range files {
		v, _, err := open(dir, file)
		if err != nil {
			return nil, err
		}
		task := strings.TrimSuffix(strings.TrimPrefix(file, "information/"), ".safetensors")
		var trial *informationTrial // one point and one spectrum serve all cases of a file
		names := []string{}
		for _, name := range v.Names() {
			if of, ok := informationQuantity(name); ok && !(o.Quick && (of.dense || name != "v.k2" && name != "grad.k2")) {
				names = append(names, name)
			}
		}
		for i, name := range names {
			q, _ := informationQuantity(name)
			cases = append(cases, check("information", task+" "+name, q.bound, func(_ context.Context, dev compute.Device) (e float64, err error) {
				if trial == nil {
					if trial, err = newInformationTrial(dir, v, task, dev); err != nil {
						return 0, err
					}
				}
				if i == len(names)-1 {
					defer func() { trial.close(); trial = nil }()
				}
				got, err := q.of(trial)
				if err != nil {
					return 0, err
				}
				return v.error(got, name)
			}))
		}
	}
	return cases, nil
}

type informationQuestion struct {
	bound float64
	dense bool // needs the whole matrix A J Aᵀ
	of    func(t *informationTrial) ([]float32, error)
}

// informationQuantity finds what a tensor's name asks for; ok is false for inputs
// and for what is there for study only.
func informationQuantity(name string) (q informationQuestion, ok bool) {
	var k int
	switch {
	case name == "eps":
		return informationQuestion{1e-5, false, func(t *informationTrial) ([]float32, error) {
			return compute.ToHost(t.dev, t.epsilon)
		}}, true
	case name == "x0":
		return informationQuestion{1e-5, false, func(t *informationTrial) ([]float32, error) { return compute.ToHost(t.dev, t.x0) }}, true
	case name == "information":
		return informationQuestion{1e-4, true, (*informationTrial).information}, true
	case name == "v.exact":
		return informationQuestion{1e-3, true, (*informationTrial).exactDirection}, true
	case name == "grad.exact":
		return informationQuestion{2e-3, true, func(t *informationTrial) ([]float32, error) {
			host, err := t.exactDirection()
			if err != nil {
				return nil, err
			}
			return t.gradientAlong(host)
		}}, true
	case name == "grad.trace":
		return informationQuestion{2e-3, true, (*informationTrial).trace}, true
	}
	if n, _ := fmt.Sscanf(name, "v.k%d", &k); n == 1 {
		return informationQuestion{1e-3, false, func(t *informationTrial) ([]float32, error) {
			term, err := t.term(k, cmi.Probe)
			if err != nil {
				return nil, err
			}
			defer term.Close()
			dir, err := term.Direction(t.at, t.level, t.z)
			if err != nil {
				return nil, err
			}
			return compute.ToHost(t.dev, dir)
		}}, true
	}
	if n, _ := fmt.Sscanf(name, "grad.k%d", &k); n == 1 {
		return informationQuestion{2e-3, false, func(t *informationTrial) ([]float32, error) { return t.gradient(k, cmi.Probe) }}, true
	}
	return q, false
}

// informationTrial is a problem at one x_t.
type informationTrial struct {
	*problem
	dev        compute.Device
	ws         *compute.Workspace
	at         *prior.Tweedie
	epsilon    compute.Tensor
	x0         compute.Tensor
	z          []float32
	level      krylov.Level
	covariance []dense.Covariance
	exact      []float32 // v.exact
}

func newInformationTrial(dir fs.FS, v *vectors, task string, dev compute.Device) (*informationTrial, error) {
	p, err := newProblem(dir, v, task, dev)
	if err != nil {
		return nil, err
	}
	t := &informationTrial{problem: p, dev: dev, ws: compute.NewWorkspace(dev), at: prior.NewTweedie(p.model)}
	if err := t.setUp(v); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *informationTrial) setUp(v *vectors) error {
	x, err := v.load(t.ws, "x")
	if err != nil {
		return err
	}
	index, err := v.Ints("index")
	if err != nil {
		return err
	}
	i := int(index[0])
	if t.z, err = v.values("z"); err != nil {
		return err
	}
	t.x0 = t.ws.Like(x)
	if err := t.ws.Err(); err != nil {
		return err
	}
	out, err := t.at.At(x, t.schedule, i, t.x0)
	if err != nil {
		return err
	}
	t.epsilon = out.Channels(0, x.C)
	t.level = krylov.Level{AlphaBar: t.schedule.AlphaBar(i), SigmaY: sigmaY}
	return nil
}

func (t *informationTrial) close() {
	t.at.Close()
	t.ws.Free()
	t.problem.close()
}

func (t *informationTrial) term(k int, e cmi.Estimator) (*cmi.Term, error) {
	return cmi.New(t.dev, t.operator, t.x0.N, cmi.Options{Eta: 1, Weighting: cmi.Beta, Estimator: e, Probes: 1, Lanczos: k, MaxAlphaBar: 1, Every: 1})
}

func (t *informationTrial) gradient(k int, e cmi.Estimator) ([]float32, error) {
	term, err := t.term(k, e)
	if err != nil {
		return nil, err
	}
	defer term.Close()
	grad, _, err := term.Gradient(t.at, t.level, func(_ int, z []float32) { copy(z, t.z) })
	if err != nil {
		return nil, err
	}
	return compute.ToHost(t.dev, grad)
}

func (t *informationTrial) trace() ([]float32, error) { return t.gradient(0, cmi.Trace) }

// gradientAlong is ½ c D²x̂0[v, v].
func (t *informationTrial) gradientAlong(v []float32) ([]float32, error) {
	dir := t.ws.FromHost(v, t.x0.N, t.x0.C, t.x0.H, t.x0.W)
	second, err := t.at.Second(dir, dir)
	if err != nil {
		return nil, err
	}
	t.dev.Combine(second, compute.Times(0.5*t.level.C(), second))
	return compute.ToHost(t.dev, second)
}

// covariances of the images, computed once.
func (t *informationTrial) covariances() ([]dense.Covariance, error) {
	if t.covariance != nil {
		return t.covariance, nil
	}
	e, err := dense.New(t.dev, t.ws, t.operator, t.x0.N, dense.Trace, 1)
	if err != nil {
		return nil, err
	}
	t.covariance, err = e.Covariance(t.at, t.level)
	return t.covariance, err
}

func (t *informationTrial) information() ([]float32, error) {
	covariances, err := t.covariances()
	if err != nil {
		return nil, err
	}
	var out []float32
	for _, c := range covariances {
		i, err := c.Information(t.level)
		if err != nil {
			return nil, err
		}
		out = append(out, float32(i))
	}
	return out, nil
}

// exactDirection is v = Aᵀ P^(−½) Ŝ^(−½) z with the whole symmetrised matrix
// Ŝ = P^(−½)(c A J Aᵀ + σ_y² I)P^(−½), in float64.
func (t *informationTrial) exactDirection() (v []float32, err error) {
	if t.exact != nil {
		return t.exact, nil
	}
	defer func() { t.exact = v }()
	covariances, err := t.covariances()
	if err != nil {
		return nil, err
	}
	at := covariances[0].Measured
	m := len(at)
	c, h, w := t.operator.Out()
	size := c * h * w
	r2, s2 := t.level.R2(), sigmaY*sigmaY
	ws := compute.NewWorkspace(t.dev)
	defer ws.Free()
	basis := make([]float32, m*size)
	for k, a := range at {
		basis[k*size+a] = 1
	}
	b := ws.FromHost(basis, m, c, h, w)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	measure.Power(t.operator, b, b, r2, s2, -0.5)
	rows, err := compute.ToHost(t.dev, b)
	if err != nil {
		return nil, err
	}
	root := mat.NewDense(m, m, nil) // P^(−½)
	for i := range m {
		for j, a := range at {
			root.Set(j, i, float64(rows[i*size+a]))
		}
	}
	floor := s2 / (r2*t.operator.LargestEigenvalue() + s2)
	y := make([]float32, t.x0.N*size)
	for n, covariance := range covariances {
		var s, hat mat.Dense
		s.CloneFrom(covariance.Matrix)
		for i := range m {
			s.Set(i, i, s.At(i, i)+s2)
		}
		hat.Product(root, &s, root)
		sym := mat.NewSymDense(m, nil)
		for i := range m {
			for j := i; j < m; j++ {
				sym.SetSym(i, j, 0.5*(hat.At(i, j)+hat.At(j, i)))
			}
		}
		var e mat.EigenSym
		if !e.Factorize(sym, true) {
			return nil, fmt.Errorf("the eigenvalues of the preconditioned matrix do not converge")
		}
		var q mat.Dense
		e.VectorsTo(&q)
		z := mat.NewVecDense(m, nil)
		for i, a := range at {
			z.SetVec(i, float64(t.z[n*size+a]))
		}
		var coef, solved, p mat.VecDense
		coef.MulVec(q.T(), z)
		for i, value := range e.Values(nil) {
			if value <= floor {
				coef.SetVec(i, 0)
			} else {
				coef.SetVec(i, coef.AtVec(i)/math.Sqrt(value))
			}
		}
		solved.MulVec(&q, &coef)
		p.MulVec(root, &solved)
		for i, a := range at {
			y[n*size+a] = float32(p.AtVec(i))
		}
	}
	dual := ws.FromHost(y, t.x0.N, c, h, w)
	image := ws.Like(t.x0)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	t.operator.Adjoint(image, dual)
	return compute.ToHost(t.dev, image)
}
