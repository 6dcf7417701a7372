package mixture

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Posterior is p(x0 | y): a mixture of Gaussians with one covariance for all.
type Posterior struct {
	Weights []float64     // sum 1
	Means   [][]float64   // of length n
	Factor  *mat.TriDense // U, n × n upper triangular: the covariance is U Uᵀ
	// LogEvidence is log p(y) in nats, p(y) = Σ_k π_k N(y; A μ_k, G) with Σ_k π_k = 1.
	LogEvidence float64
}

// Posterior returns the exact distribution of x0 given y = A x0 + σ_y n, n ~ N(0, I):
//
//	weights ∝ π_k N(y; A μ_k, G),   G = σ0² A Aᵀ + σ_y² I
//	means     μ_k + σ0² Aᵀ G⁻¹ (y − A μ_k)
//	covariance (I/σ0² + AᵀA/σ_y²)⁻¹
//
// for A m × n, y of length m and sigmaY positive.
func (m *Mixture) Posterior(a *mat.Dense, y []float64, sigmaY float64) (*Posterior, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	n := m.Dim()
	if err := checkMeasurement(a, n, sigmaY); err != nil {
		return nil, err
	}
	rows, _ := a.Dims()
	if len(y) != rows || !finite(y) {
		return nil, fmt.Errorf("mixture: measurement of length %d, want %d finite values, one a row of A", len(y), rows)
	}
	prior, noise := m.Std*m.Std, sigmaY*sigmaY

	g := mat.NewSymDense(rows, nil)
	g.SymOuterK(prior, a)
	for i := range rows {
		g.SetSym(i, i, g.At(i, i)+noise)
	}
	precision := mat.NewSymDense(n, nil)
	precision.SymOuterK(1/noise, a.T())
	for i := range n {
		precision.SetSym(i, i, precision.At(i, i)+1/prior)
	}
	var evidence, inner mat.Cholesky
	if !evidence.Factorize(g) || !inner.Factorize(precision) {
		return nil, fmt.Errorf("mixture: posterior covariance is singular in float64 at Std %g, sigmaY %g; try a larger sigmaY", m.Std, sigmaY)
	}

	post := &Posterior{Weights: make([]float64, len(m.Weights)), Means: make([][]float64, len(m.Means))}
	residual, solved := mat.NewVecDense(rows, nil), mat.NewVecDense(rows, nil)
	for k, mu := range m.Means {
		residual.MulVec(a, mat.NewVecDense(n, mu))
		residual.SubVec(mat.NewVecDense(rows, y), residual)
		if err := evidence.SolveVecTo(solved, residual); err != nil {
			return nil, fmt.Errorf("mixture: posterior of component %d at sigmaY %g: %w", k, sigmaY, err)
		}
		post.Weights[k] = math.Log(m.Weights[k]) - mat.Dot(residual, solved)/2
		mean := mat.NewVecDense(n, nil)
		mean.MulVec(a.T(), solved)
		mean.AddScaledVec(mat.NewVecDense(n, mu), prior, mean)
		post.Means[k] = mean.RawVector().Data
	}
	logSum := floats.LogSumExp(post.Weights)
	post.LogEvidence = logSum - math.Log(floats.Sum(m.Weights)) - (evidence.LogDet()+float64(rows)*math.Log(2*math.Pi))/2
	if math.IsInf(logSum, 0) || math.IsNaN(logSum) {
		return nil, fmt.Errorf("mixture: measurement of norm %g has no likelihood in float64 under any component at sigmaY %g; try a larger sigmaY", floats.Norm(y, 2), sigmaY)
	}
	for k, w := range post.Weights {
		post.Weights[k] = math.Exp(w - logSum)
	}

	// precision = VᵀV with V upper triangular, so covariance = V⁻¹V⁻ᵀ and U = V⁻¹.
	var upper mat.TriDense
	inner.UTo(&upper)
	post.Factor = new(mat.TriDense)
	if err := post.Factor.InverseTri(&upper); err != nil {
		return nil, fmt.Errorf("mixture: posterior covariance at Std %g, sigmaY %g: %w", m.Std, sigmaY, err)
	}
	return post, nil
}

// Sample draws count independent vectors x0. rng must not be nil.
func (p *Posterior) Sample(count int, rng *rand.Rand) [][]float64 {
	noise := mat.NewVecDense(len(p.Means[0]), nil)
	return draw(p.Weights, p.Means, count, rng, func(dst, z []float64) {
		noise.MulVec(p.Factor, mat.NewVecDense(len(z), z))
		floats.Add(dst, noise.RawVector().Data)
	})
}
