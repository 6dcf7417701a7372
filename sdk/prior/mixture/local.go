package mixture

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Marginal is the mixture after the forward process, the density p_t of x_t.
type Marginal struct {
	mix       *Mixture
	root      float64   // √ᾱ
	sigma2    float64   // σ_t² = 1 − ᾱ
	variance  float64   // v = ᾱσ0² + 1 − ᾱ
	offset    []float64 // log π_k − ᾱ‖μ_k‖²/2v
	logNormal float64   // −n/2 log 2πv
}

// Marginal is p_t at ᾱ in [0, 1]: 1 is the prior itself, 0 pure noise. The
// mixture must not change while it is used.
func (m *Mixture) Marginal(alphaBar float64) (*Marginal, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if !(alphaBar >= 0 && alphaBar <= 1) {
		return nil, fmt.Errorf("mixture: alphaBar %g, want 0 … 1", alphaBar)
	}
	p := &Marginal{mix: m, root: math.Sqrt(alphaBar), sigma2: 1 - alphaBar}
	p.variance = alphaBar*m.Std*m.Std + p.sigma2
	p.logNormal = -float64(m.Dim()) / 2 * math.Log(2*math.Pi*p.variance)
	p.offset = make([]float64, len(m.Weights))
	logTotal := math.Log(floats.Sum(m.Weights))
	for k, mu := range m.Means {
		p.offset[k] = math.Log(m.Weights[k]) - logTotal - alphaBar*floats.Dot(mu, mu)/(2*p.variance)
	}
	return p, nil
}

// Local is p_t at one x: the responsibilities, computed once, and everything
// that follows from them. Methods that take dst write the result there, or into
// a new slice where dst is nil, and return it; dst must not overlap the
// arguments. Vectors have length n; another length is a programming error and
// panics.
type Local struct {
	p          *Marginal
	x          []float64
	resp       []float64 // r_k, sum 1
	mean       []float64 // m = Σ r_k μ_k
	logDensity float64
}

// At is [Marginal.At] of the marginal at ᾱ.
func (m *Mixture) At(x []float64, alphaBar float64) (*Local, error) {
	p, err := m.Marginal(alphaBar)
	if err != nil {
		return nil, err
	}
	return p.At(x)
}

// At evaluates the density at x of length n. It fails where x is so large, or
// not a number, that the log-density has no float64 value.
func (p *Marginal) At(x []float64) (*Local, error) {
	n, k := p.mix.Dim(), len(p.offset)
	if len(x) != n {
		return nil, fmt.Errorf("mixture: x has length %d, want %d", len(x), n)
	}
	l := &Local{x: make([]float64, n), mean: make([]float64, n), resp: make([]float64, k)}
	copy(l.x, x)
	return l, l.evaluate(p)
}

// evaluate fills in l for its x. ‖x‖² is common to all components and left out
// of the exponents, so that they stay moderate and exact far in the tails.
func (l *Local) evaluate(p *Marginal) error {
	l.p = p
	scale := p.root / p.variance
	for k, mu := range p.mix.Means {
		l.resp[k] = p.offset[k] + scale*floats.Dot(mu, l.x)
	}
	logSum := floats.LogSumExp(l.resp)
	clear(l.mean)
	for k, mu := range p.mix.Means {
		l.resp[k] = math.Exp(l.resp[k] - logSum)
		floats.AddScaled(l.mean, l.resp[k], mu)
	}
	l.logDensity = p.logNormal - floats.Dot(l.x, l.x)/(2*p.variance) + logSum
	if math.IsNaN(l.logDensity) || math.IsInf(l.logDensity, 0) {
		return fmt.Errorf("mixture: log-density %g at a point of norm %g, want a finite point of at most about 1e150",
			l.logDensity, floats.Norm(l.x, 2))
	}
	return nil
}

// LogDensity returns log p_t(x), in nats.
func (l *Local) LogDensity() float64 { return l.logDensity }

// Responsibilities are p(k | x_t = x). The slice is l's own: do not modify it.
func (l *Local) Responsibilities() []float64 { return l.resp }

// Score is ∇ log p_t(x).
func (l *Local) Score(dst []float64) []float64 {
	dst = l.dst(dst)
	for i, m := range l.mean {
		dst[i] = (l.p.root*m - l.x[i]) / l.p.variance
	}
	return dst
}

// HessianVec is ∇² log p_t(x) · v.
func (l *Local) HessianVec(dst, v []float64) []float64 {
	g := l.p.root / l.p.variance
	return l.linear(l.dst(dst), -1/l.p.variance, g*g, v)
}

// Third returns the vector ∇³ log p_t(x)[v, w].
func (l *Local) Third(dst, v, w []float64) []float64 {
	g := l.p.root / l.p.variance
	return l.bilinear(l.dst(dst), g*g*g, v, w)
}

// Tweedie is x̂0 = E[x0 | x_t = x] = (x + σ_t² ∇ log p_t)/√ᾱ, in the form
// (√ᾱσ0² x + σ_t² m)/v, which holds at ᾱ = 0 too.
func (l *Local) Tweedie(dst []float64) []float64 {
	dst = l.dst(dst)
	p := l.p
	for i, m := range l.mean {
		dst[i] = (p.root*p.mix.Std*p.mix.Std*l.x[i] + p.sigma2*m) / p.variance
	}
	return dst
}

// TweedieJVP is J v, J = ∂x̂0/∂x_t = (I + σ_t² ∇² log p_t)/√ᾱ. J is symmetric.
func (l *Local) TweedieJVP(dst, v []float64) []float64 {
	identity, cov := l.jacobian()
	return l.linear(l.dst(dst), identity, cov, v)
}

// TweedieSecond is D²x̂0[v, w] = ∂²x̂0(x + αv + βw)/∂α∂β at 0.
func (l *Local) TweedieSecond(dst, v, w []float64) []float64 {
	g := l.p.root / l.p.variance
	return l.bilinear(l.dst(dst), l.p.sigma2/l.p.variance*g*g, v, w)
}

// Hessian is ∇² log p_t(x), n × n.
func (l *Local) Hessian() *mat.SymDense {
	g := l.p.root / l.p.variance
	return l.dense(-1/l.p.variance, g*g)
}

// Jacobian is J of [Local.TweedieJVP], n × n.
func (l *Local) Jacobian() *mat.SymDense { return l.dense(l.jacobian()) }

// Covariance returns Σ = Cov[x0 | x_t = x] = (σ_t²/√ᾱ) J, n × n.
func (l *Local) Covariance() *mat.SymDense { return l.dense(l.covariance()) }

// jacobian and covariance are J and Σ as multiples of I and of C.
func (l *Local) jacobian() (identity, cov float64) {
	p := l.p
	return p.root * p.mix.Std * p.mix.Std / p.variance, p.sigma2 / p.variance * p.root / p.variance
}

func (l *Local) covariance() (identity, cov float64) {
	p := l.p
	g := p.sigma2 / p.variance
	return g * p.mix.Std * p.mix.Std, g * g
}

// linear computes dst = identity·v + cov·C v.
func (l *Local) linear(dst []float64, identity, cov float64, v []float64) []float64 {
	l.check(v)
	floats.ScaleTo(dst, identity, v)
	for k, r := range l.resp {
		if r != 0 {
			l.addDelta(dst, k, cov*r*l.dotDelta(k, v))
		}
	}
	return dst
}

// bilinear computes dst = c·κ₃[v, w].
func (l *Local) bilinear(dst []float64, c float64, v, w []float64) []float64 {
	l.check(v)
	l.check(w)
	clear(dst)
	for k, r := range l.resp {
		if r != 0 {
			l.addDelta(dst, k, c*r*l.dotDelta(k, v)*l.dotDelta(k, w))
		}
	}
	return dst
}

// dense is identity·I + cov·C.
func (l *Local) dense(identity, cov float64) *mat.SymDense {
	n := len(l.x)
	out, delta := mat.NewSymDense(n, nil), make([]float64, n)
	for i := range n {
		out.SetSym(i, i, identity)
	}
	for k, r := range l.resp {
		floats.SubTo(delta, l.p.mix.Means[k], l.mean)
		out.SymRankOne(out, cov*r, mat.NewVecDense(n, delta))
	}
	return out
}

// dotDelta and addDelta use δ_k = μ_k − m itself rather than expanded moments:
// where one component has nearly all of the responsibility, C is far smaller
// than the moments that would cancel.
func (l *Local) dotDelta(k int, v []float64) float64 {
	mu, sum := l.p.mix.Means[k], 0.0
	for i, m := range l.mean {
		sum += (mu[i] - m) * v[i]
	}
	return sum
}

func (l *Local) addDelta(dst []float64, k int, c float64) {
	mu := l.p.mix.Means[k]
	for i, m := range l.mean {
		dst[i] += c * (mu[i] - m)
	}
}

func (l *Local) dst(dst []float64) []float64 {
	if dst == nil {
		return make([]float64, len(l.x))
	}
	l.check(dst)
	return dst
}

func (l *Local) check(v []float64) {
	if len(v) != len(l.x) {
		panic(fmt.Sprintf("mixture: vector of length %d at a point of length %d", len(v), len(l.x)))
	}
}
