//go:build !page

package dense

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Estimator estimates ∇I for n images.
type Estimator struct {
	dev    compute.Device
	op     measure.Linear
	n      int
	name   string
	probes int
	z      compute.Tensor // [n, Out]
	grad   compute.Tensor // [n, In]
	host   []float32      // of z
}

// New allocates in the caller's workspace for n images; probes are averaged by all
// estimators but Trace.
func New(dev compute.Device, ws *compute.Workspace, op measure.Linear, n int, name string, probes int) (*Estimator, error) {
	est := &Estimator{dev: dev, op: op, n: n, name: name, probes: probes}
	c, h, w := op.Out()
	est.z = ws.New(n, c, h, w)
	c, h, w = op.In()
	est.grad = ws.New(n, c, h, w)
	est.host = make([]float32, n*est.z.Len())
	return est, ws.Err()
}

// Covariance is c A J Aᵀ of one image on the measured coordinates, symmetrised.
type Covariance struct {
	Measured []int // indices of the measured coordinates
	Matrix   *mat.SymDense
}

// Information is I = ½ Σ log(1 + max(e_i, 0)/σ_y²) over the eigenvalues, in nats (eq. 6).
func (c Covariance) Information(l krylov.Level) (float64, error) {
	var e mat.EigenSym
	if !e.Factorize(c.Matrix, false) {
		return 0, errDiverged
	}
	return information(e.Values(nil), l), nil
}

func information(eigenvalues []float64, l krylov.Level) float64 {
	sum := 0.0
	for _, e := range eigenvalues {
		sum += 0.5 * math.Log1p(max(e, 0)/l.S2())
	}
	return sum
}

var errDiverged = errors.New("the eigenvalues of A Σ Aᵀ do not converge")

// spectrum is a covariance's eigenvalues e_i and eigenvectors, columns.
type spectrum struct {
	values  []float64
	vectors *mat.Dense
}

func (c Covariance) spectrum() (spectrum, error) {
	var e mat.EigenSym
	if !e.Factorize(c.Matrix, true) {
		return spectrum{}, errDiverged
	}
	s := spectrum{e.Values(nil), new(mat.Dense)}
	e.VectorsTo(s.vectors)
	return s, nil
}

// Measured lists, for each image, the coordinates where its A has a row that is not zero.
func (est *Estimator) Measured() ([][]int, error) {
	for i := range est.host {
		est.host[i] = 1
	}
	est.dev.Write(est.z, est.host)
	est.op.Scale(est.z, est.z, 1)
	if err := est.dev.Read(est.host, est.z); err != nil {
		return nil, err
	}
	at := make([][]int, est.n)
	for i := range at {
		for k, v := range est.host[i*est.z.Len() : (i+1)*est.z.Len()] {
			if v != 0 {
				at[i] = append(at[i], k)
			}
		}
		switch m := len(at[i]); {
		case m == 0:
			return nil, fmt.Errorf("the operator measures nothing of image %d", i)
		case m > Limit:
			return nil, fmt.Errorf("%d measurements are too many for a dense estimator (at most %d): use the probe estimator", m, Limit)
		}
	}
	return at, nil
}

// Covariance computes c A J Aᵀ of each image, one JVP for each measurement.
func (est *Estimator) Covariance(d prior.Denoiser, l krylov.Level) ([]Covariance, error) {
	at, err := est.Measured()
	if err != nil {
		return nil, err
	}
	columns, err := est.columns(most(at), est.z, unit(at), est.z, func(dst, dirs compute.Tensor) error {
		v, err := compute.New(est.dev, dirs.N, est.grad.C, est.grad.H, est.grad.W)
		if err != nil {
			return err
		}
		defer est.dev.Free(v.Buf)
		est.each(v, dirs, est.op.Adjoint)
		jv, err := d.JVP(v)
		if err == nil {
			est.each(dst, jv, est.op.Apply)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]Covariance, est.n)
	for i, at := range at {
		m := mat.NewSymDense(len(at), nil)
		for a := range at {
			for b := a; b < len(at); b++ {
				m.SetSym(a, b, 0.5*l.C()*(columns[i][b][at[a]]+columns[i][a][at[b]]))
			}
		}
		out[i] = Covariance{at, m}
	}
	return out, nil
}

// Gradient is ∇I at the denoiser's point for each image, [n, In], valid until the next
// call, and the information I, in nats. probe fills z with the k-th Rademacher probe of ±1:
// [n, Out], for TwoTrace [n, In].
func (est *Estimator) Gradient(d prior.Denoiser, l krylov.Level, probe func(k int, z []float32)) (compute.Tensor, []float64, error) {
	covariances, err := est.Covariance(d, l)
	if err != nil {
		return est.grad, nil, err
	}
	at, info, spectra := make([][]int, est.n), make([]float64, est.n), make([]spectrum, est.n)
	for i, c := range covariances {
		at[i] = c.Measured
		if spectra[i], err = c.spectrum(); err != nil {
			return est.grad, nil, err
		}
		info[i] = information(spectra[i].values, l)
	}
	sum := make([][]float64, est.n)
	switch est.name {
	case Trace:
		sum, err = est.trace(d, l, at, spectra)
	case TwoDirection:
		sum, err = est.twoDirection(d, l, at, spectra, probe)
	case TwoTrace:
		sum, err = est.twoTrace(d, l, probe)
	}
	if err != nil {
		return est.grad, nil, err
	}
	host := make([]float32, 0, est.n*est.grad.Len())
	for _, g := range sum {
		for _, v := range g {
			host = append(host, float32(v))
		}
	}
	est.dev.Write(est.grad, host)
	return est.grad, info, nil
}

// trace returns the exact trace: v_i = Aᵀ q_i/√(max(e_i, 0) + σ_y²).
func (est *Estimator) trace(d prior.Denoiser, l krylov.Level, at [][]int, spectra []spectrum) ([][]float64, error) {
	back, err := est.adjointRows(at)
	if err != nil {
		return nil, err
	}
	return est.jets(d, l, most(at), func(dst []float32, k, i int) {
		s := spectra[i]
		if k >= len(s.values) {
			return
		}
		scale := 1 / math.Sqrt(max(s.values[k], 0)+l.S2())
		accumulate(dst, back[i], func(row int) float64 { return scale * s.vectors.At(row, k) })
	}, nil)
}

// twoDirection is ½c D²x̂0[AᵀS⁻¹z, Aᵀz], averaged over the probes.
func (est *Estimator) twoDirection(d prior.Denoiser, l krylov.Level, at [][]int, spectra []spectrum, probe func(k int, z []float32)) ([][]float64, error) {
	back, err := est.adjointRows(at)
	if err != nil {
		return nil, err
	}
	z := est.draw(probe, len(est.host))
	scale := 1 / math.Sqrt(float64(est.probes))
	return est.jets(d, l, est.probes, func(dst []float32, k, i int) {
		s := spectra[i]
		solved := make([]float64, len(at[i]))
		for e, value := range s.values {
			dot := 0.0
			for row, coordinate := range at[i] {
				dot += s.vectors.At(row, e) * float64(z[k][i*est.z.Len()+coordinate])
			}
			dot /= max(value, 0) + l.S2()
			for row := range at[i] {
				solved[row] += dot * s.vectors.At(row, e)
			}
		}
		accumulate(dst, back[i], func(row int) float64 { return scale * solved[row] })
	}, func(dst []float32, k, i int) {
		accumulate(dst, back[i], func(row int) float64 { return scale * float64(z[k][i*est.z.Len()+at[i][row]]) })
	})
}

// draw draws all probes, of values numbers each.
func (est *Estimator) draw(probe func(k int, z []float32), values int) [][]float32 {
	z := make([][]float32, est.probes)
	for k := range z {
		z[k] = make([]float32, values)
		probe(k, z[k])
	}
	return z
}

// adjointRows returns the rows of each image's A on its measured coordinates: Aᵀe of each.
func (est *Estimator) adjointRows(at [][]int) ([][][]float64, error) {
	rows, err := est.columns(most(at), est.z, unit(at), est.grad, func(dst, dirs compute.Tensor) error {
		est.each(dst, dirs, est.op.Adjoint)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i] = rows[i][:len(at[i])]
	}
	return rows, nil
}

// accumulate adds Σ_row coef(row)·rows[row] to dst.
func accumulate(dst []float32, rows [][]float64, coef func(row int) float64) {
	sum := make([]float64, len(dst))
	for r, row := range rows {
		c := coef(r)
		if c == 0 {
			continue
		}
		for p, v := range row {
			sum[p] += c * v
		}
	}
	for p, v := range sum {
		dst[p] += float32(v)
	}
}
