package cmi

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// What follows forms dense matrices, one direction for each measurement or
// pixel: the referee of the probe estimator, for small problems.

// MaxDense is the largest number of measurements or pixels that the dense
// estimators take.
const MaxDense = 4096

// DenseDirections is how many directions the dense estimators take through the network
// together, at most.
const DenseDirections = 32

// Covariance is c A J Aᵀ of one image on the measured coordinates, symmetrised.
type Covariance struct {
	Measured []int // indices of the measured coordinates
	Matrix   *mat.SymDense
}

// Information is I = ½ Σ log(1 + max(e_i, 0)/σ_y²) over the eigenvalues, in nats (eq. 6).
func (c Covariance) Information(l Level) (float64, error) {
	var e mat.EigenSym
	if !e.Factorize(c.Matrix, false) {
		return 0, errDiverged
	}
	return information(e.Values(nil), l), nil
}

func information(eigenvalues []float64, l Level) float64 {
	sum := 0.0
	for _, e := range eigenvalues {
		sum += 0.5 * math.Log1p(max(e, 0)/l.sigmaY2())
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
func (t *Term) Measured() ([][]int, error) {
	for i := range t.host {
		t.host[i] = 1
	}
	t.dev.Write(t.z, t.host)
	t.op.Power(t.z, t.z, 0, 1, 1)
	if err := t.dev.Read(t.host, t.z); err != nil {
		return nil, err
	}
	at := make([][]int, t.n)
	for i := range at {
		for k, v := range t.host[i*t.z.Len() : (i+1)*t.z.Len()] {
			if v != 0 {
				at[i] = append(at[i], k)
			}
		}
		switch m := len(at[i]); {
		case m == 0:
			return nil, fmt.Errorf("the operator measures nothing of image %d", i)
		case m > MaxDense:
			return nil, fmt.Errorf("%d measurements are too many for a dense estimator (at most %d): use the probe estimator", m, MaxDense)
		}
	}
	return at, nil
}

// Covariance computes c A J Aᵀ of each image, one JVP for each measurement.
func (t *Term) Covariance(d Denoiser, l Level) ([]Covariance, error) {
	at, err := t.Measured()
	if err != nil {
		return nil, err
	}
	columns, err := t.columns(most(at), t.z, unit(at), t.z, func(dst, dirs compute.Tensor) error {
		v, err := compute.New(t.dev, dirs.N, t.v.C, t.v.H, t.v.W)
		if err != nil {
			return err
		}
		defer t.dev.Free(v.Buf)
		t.each(v, dirs, t.op.Adjoint)
		jv, err := d.JVP(v)
		if err == nil {
			t.each(dst, jv, t.op.Apply)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]Covariance, t.n)
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

// dense computes ∇I by one of the estimators that form matrices.
func (t *Term) dense(d Denoiser, l Level, probe func(k int, z []float32)) (compute.Tensor, []float64, error) {
	covariances, err := t.Covariance(d, l)
	if err != nil {
		return t.grad, nil, err
	}
	at, info, spectra := make([][]int, t.n), make([]float64, t.n), make([]spectrum, t.n)
	for i, c := range covariances {
		at[i] = c.Measured
		if spectra[i], err = c.spectrum(); err != nil {
			return t.grad, nil, err
		}
		info[i] = information(spectra[i].values, l)
	}
	sum := make([][]float64, t.n)
	switch t.opt.Estimator {
	case Trace:
		sum, err = t.trace(d, l, at, spectra)
	case TwoDirection:
		sum, err = t.twoDirection(d, l, at, spectra, probe)
	case TwoTrace:
		sum, err = t.twoTrace(d, l, probe)
	}
	if err != nil {
		return t.grad, nil, err
	}
	host := make([]float32, 0, t.n*t.grad.Len())
	for _, g := range sum {
		for _, v := range g {
			host = append(host, float32(v))
		}
	}
	t.dev.Write(t.grad, host)
	return t.grad, info, nil
}

// trace is the exact trace: v_i = Aᵀ q_i/√(max(e_i, 0) + σ_y²).
func (t *Term) trace(d Denoiser, l Level, at [][]int, spectra []spectrum) ([][]float64, error) {
	back, err := t.adjointRows(at)
	if err != nil {
		return nil, err
	}
	return t.jets(d, l, most(at), func(dst []float32, k, i int) {
		s := spectra[i]
		if k >= len(s.values) {
			return
		}
		scale := 1 / math.Sqrt(max(s.values[k], 0)+l.sigmaY2())
		accumulate(dst, back[i], func(row int) float64 { return scale * s.vectors.At(row, k) })
	}, nil)
}

// twoDirection is ½c D²x̂0[AᵀS⁻¹z, Aᵀz], averaged over the probes.
func (t *Term) twoDirection(d Denoiser, l Level, at [][]int, spectra []spectrum, probe func(k int, z []float32)) ([][]float64, error) {
	back, err := t.adjointRows(at)
	if err != nil {
		return nil, err
	}
	z := t.draw(probe, len(t.host))
	scale := 1 / math.Sqrt(float64(t.opt.Probes))
	return t.jets(d, l, t.opt.Probes, func(dst []float32, k, i int) {
		s := spectra[i]
		solved := make([]float64, len(at[i]))
		for e, value := range s.values {
			dot := 0.0
			for row, coordinate := range at[i] {
				dot += s.vectors.At(row, e) * float64(z[k][i*t.z.Len()+coordinate])
			}
			dot /= max(value, 0) + l.sigmaY2()
			for row := range at[i] {
				solved[row] += dot * s.vectors.At(row, e)
			}
		}
		accumulate(dst, back[i], func(row int) float64 { return scale * solved[row] })
	}, func(dst []float32, k, i int) {
		accumulate(dst, back[i], func(row int) float64 { return scale * float64(z[k][i*t.z.Len()+at[i][row]]) })
	})
}

// draw draws all probes, of so many values.
func (t *Term) draw(probe func(k int, z []float32), values int) [][]float32 {
	z := make([][]float32, t.opt.Probes)
	for k := range z {
		z[k] = make([]float32, values)
		probe(k, z[k])
	}
	return z
}

// adjointRows are the rows of each image's A on its measured coordinates: Aᵀe of each.
func (t *Term) adjointRows(at [][]int) ([][][]float64, error) {
	rows, err := t.columns(most(at), t.z, unit(at), t.v, func(dst, dirs compute.Tensor) error {
		t.each(dst, dirs, t.op.Adjoint)
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
