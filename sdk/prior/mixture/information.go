package mixture

import (
	"fmt"

	"gonum.org/v1/gonum/mat"
)

// Information returns the conditional mutual information, in nats,
//
//	I(x0; y | x_t) = ½ log det(I + R⁻¹ A Σ Aᵀ),   R = σ_y² I,
//
// of y = A x0 + σ_y n under the Gaussian with the posterior covariance Σ
// (arXiv 2501.02880, eq. 6). A is m × n and sigmaY positive. Where gradient is
// not nil it receives ∇I with respect to x_t,
//
//	∇I = ½ (σ_t²/√ᾱ) Σ_i D²x̂0[v_i, v_i],   Σ_i v_i v_iᵀ = Aᵀ S⁻¹ A,   S = A Σ Aᵀ + R
//
// (eqs. 13 and 14), the trace taken in closed form: Σ_i κ₃[v_i, v_i] is
// Σ_k r_k (δ_kᵀ AᵀS⁻¹A δ_k) δ_k.
func (l *Local) Information(gradient []float64, a *mat.Dense, sigmaY float64) (float64, error) {
	if err := checkMeasurement(a, len(l.x), sigmaY); err != nil {
		return 0, err
	}
	rows, n := a.Dims()
	if gradient != nil && len(gradient) != n {
		return 0, fmt.Errorf("mixture: gradient of length %d, want %d", len(gradient), n)
	}

	// S/σ_y² = I + A Σ Aᵀ/σ_y², and A δ_k in the rows of images.
	identity, cov := l.covariance()
	r := sigmaY * sigmaY
	s := mat.NewSymDense(rows, nil)
	s.SymOuterK(identity/r, a)
	for i := range rows {
		s.SetSym(i, i, s.At(i, i)+1)
	}
	images := mat.NewDense(len(l.resp), rows, nil)
	for k, resp := range l.resp {
		if resp == 0 {
			continue
		}
		image := images.RawRowView(k)
		for i := range rows {
			image[i] = l.dotDelta(k, a.RawRowView(i))
		}
		s.SymRankOne(s, cov*resp/r, images.RowView(k))
	}
	var chol mat.Cholesky
	if !chol.Factorize(s) {
		return 0, fmt.Errorf("mixture: I + A Σ Aᵀ/σ_y² is not positive definite in float64 at sigmaY %g; try a larger one", sigmaY)
	}
	if gradient != nil {
		p := l.p
		c := p.sigma2 / p.variance // ½ σ_t⁴/ᾱ (√ᾱ/v)³, without the division by ᾱ
		c *= c * p.root / p.variance / 2
		clear(gradient)
		solved := mat.NewVecDense(rows, nil)
		for k, resp := range l.resp {
			if resp == 0 {
				continue
			}
			image := images.RowView(k)
			if err := chol.SolveVecTo(solved, image); err != nil {
				return 0, fmt.Errorf("mixture: solving with S at sigmaY %g: %w", sigmaY, err)
			}
			l.addDelta(gradient, k, c*resp*mat.Dot(image, solved)/r)
		}
	}
	return chol.LogDet() / 2, nil
}

// checkMeasurement validates an m × n measurement matrix and its noise.
func checkMeasurement(a *mat.Dense, n int, sigmaY float64) error {
	if a == nil || a.IsEmpty() {
		return fmt.Errorf("mixture: no measurement matrix, want one with %d columns", n)
	}
	if rows, cols := a.Dims(); cols != n {
		return fmt.Errorf("mixture: measurement matrix is %d × %d, want %d columns", rows, cols, n)
	}
	if !squarable(sigmaY) {
		return fmt.Errorf("mixture: sigmaY %g, want 1e-100 … 1e100", sigmaY)
	}
	for i := range a.RawMatrix().Rows {
		if !finite(a.RawRowView(i)) {
			return fmt.Errorf("mixture: row %d of the measurement matrix holds a value that is not finite", i)
		}
	}
	return nil
}
