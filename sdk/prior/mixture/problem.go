package mixture

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
)

// ProblemConfig describes a random inverse problem.
type ProblemConfig struct {
	Components  int     // K ≥ 1
	Dim         int     // n ≥ 1
	Rows        int     // measurements m ≥ 1, at most n where Orthonormal
	Orthonormal bool    // make the rows of A orthonormal
	Std         float64 // σ0 of every component; 0 means 0.1
	SigmaY      float64 // σ_y; 0 means 0.1
	Seed        uint64  // the same seed gives the same problem
}

// Problem is a mixture prior, a measurement of one vector drawn from it, and
// that vector: y = A x0 + σ_y n.
type Problem struct {
	Prior  *Mixture
	A      *mat.Dense // m × n
	SigmaY float64
	Truth  []float64 // x0
	Y      []float64
}

// NewProblem draws means μ_k ~ N(0, I), weights π_k ∝ 0.2 + U(0, 1), rows of
// A ~ N(0, I/n), the truth from the prior and the measurement's noise.
func NewProblem(c ProblemConfig) (*Problem, error) {
	if c.Std == 0 {
		c.Std = 0.1
	}
	if c.SigmaY == 0 {
		c.SigmaY = 0.1
	}
	if c.Components < 1 || c.Dim < 1 || c.Rows < 1 {
		return nil, fmt.Errorf("mixture: problem with %d components, dimension %d and %d rows, want at least 1 each", c.Components, c.Dim, c.Rows)
	}
	if c.Orthonormal && c.Rows > c.Dim {
		return nil, fmt.Errorf("mixture: %d orthonormal rows in dimension %d; want at most as many rows as dimensions", c.Rows, c.Dim)
	}
	rng := rand.New(rand.NewPCG(c.Seed, 0))

	prior := &Mixture{Std: c.Std}
	for range c.Components {
		mu := make([]float64, c.Dim)
		fillNormal(mu, rng)
		prior.Means = append(prior.Means, mu)
		prior.Weights = append(prior.Weights, 0.2+rng.Float64())
	}
	a := mat.NewDense(c.Rows, c.Dim, nil)
	fillNormal(a.RawMatrix().Data, rng)
	a.Scale(1/math.Sqrt(float64(c.Dim)), a)
	if c.Orthonormal {
		var qr mat.QR
		qr.Factorize(a.T())
		var q mat.Dense
		qr.QTo(&q)
		a.Copy(q.Slice(0, c.Dim, 0, c.Rows).T())
	}
	truth, err := prior.SamplePrior(1, rng)
	if err != nil {
		return nil, err
	}
	p := &Problem{Prior: prior, A: a, SigmaY: c.SigmaY, Truth: truth[0]}
	if err := checkMeasurement(a, c.Dim, c.SigmaY); err != nil {
		return nil, err
	}
	y := mat.NewVecDense(c.Rows, nil)
	y.MulVec(a, mat.NewVecDense(c.Dim, p.Truth))
	p.Y = y.RawVector().Data
	for i := range p.Y {
		p.Y[i] += c.SigmaY * rng.NormFloat64()
	}
	return p, nil
}

// Posterior returns the exact distribution of x0 given the problem's measurement.
func (p *Problem) Posterior() (*Posterior, error) { return p.Prior.Posterior(p.A, p.Y, p.SigmaY) }
