//go:build !page

package dense

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/krylov"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// twoTrace returns the paper's literal form (eqs. 20-22): with
// Σ1 = c J, Σ2 = (Σ1⁻¹ + AᵀR⁻¹A)⁻¹ and a probe z in image space,
// ½ [zᵀΣ1⁻¹∇Σ1 z − zᵀΣ1⁻¹Σ2Σ1⁻¹∇Σ1 z]. Σ1⁻¹ is n × n and ill-conditioned, which
// is why the product uses the other form.
func (est *Estimator) twoTrace(d prior.Denoiser, l krylov.Level, probe func(k int, z []float32)) ([][]float64, error) {
	n := est.grad.Len()
	if n > Limit {
		return nil, fmt.Errorf("%d pixels are too many for the two-trace estimator (at most %d): use the probe estimator", n, Limit)
	}
	every := make([][]int, est.n)
	for i := range every {
		for p := range n {
			every[i] = append(every[i], p)
		}
	}
	jacobian, err := est.columns(n, est.grad, unit(every), est.grad, func(dst, dirs compute.Tensor) error {
		jv, err := d.JVP(dirs)
		if err == nil {
			est.dev.Combine(dst, compute.Times(1, jv))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	at, err := est.Measured()
	if err != nil {
		return nil, err
	}
	back, err := est.adjointRows(at)
	if err != nil {
		return nil, err
	}
	z := est.draw(probe, est.n*n)
	first := make([][][]float64, est.n) // [image][probe]: (Σ1⁻¹ − Σ1⁻¹Σ2Σ1⁻¹) z
	for i := range est.n {
		a := mat.NewDense(len(at[i]), n, nil)
		for r, row := range back[i] {
			a.SetRow(r, row)
		}
		var information mat.Dense // AᵀR⁻¹A
		information.Mul(a.T(), a)
		information.Scale(1/l.S2(), &information)
		sigma1 := mat.NewDense(n, n, nil)
		for r := range n {
			for c := range n {
				sigma1.Set(r, c, 0.5*l.C()*(jacobian[i][c][r]+jacobian[i][r][c]))
			}
		}
		var inverse1, sum, sigma2, product, m mat.Dense
		if err := inverse1.Inverse(sigma1); err != nil {
			return nil, fmt.Errorf("the posterior covariance is singular: %w", err)
		}
		sum.Add(&inverse1, &information)
		if err := sigma2.Inverse(&sum); err != nil {
			return nil, fmt.Errorf("the conditional covariance is singular: %w", err)
		}
		product.Product(&inverse1, &sigma2, &inverse1)
		m.Sub(&inverse1, &product)
		for k := range z {
			x := make([]float64, n)
			for p := range x {
				x[p] = float64(z[k][i*n+p])
			}
			var y mat.VecDense
			y.MulVec(&m, mat.NewVecDense(n, x))
			first[i] = append(first[i], y.RawVector().Data)
		}
	}
	scale := float32(1 / math.Sqrt(float64(est.probes)))
	return est.jets(d, l, est.probes, func(dst []float32, k, i int) {
		for p, v := range first[i][k] {
			dst[p] = scale * float32(v)
		}
	}, func(dst []float32, k, i int) {
		for p := range dst {
			dst[p] = scale * z[k][i*n+p]
		}
	})
}
