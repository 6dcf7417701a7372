package krylov

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// start is where a Krylov space starts.
type start struct {
	d        prior.Denoiser
	l        Level
	z        compute.Tensor // shaped as the basis, overwritten
	norm     []float64      // ‖z‖ of each image
	cache    bool           // take the JVPs by [prior.Denoiser.JVPCached]
	variance []float64      // nil, or receives vᵀΣv/vᵀv of the first JVP's direction v, 0 where negative

	// multiply computes z = M q_j of the matrix M whose space it is, and returns the JVP.
	multiply func(j int, from start) (jv compute.Tensor, err error)
}

// ritz is, for each image, the eigenvalues and eigenvectors (columns) of T = QᵀMQ,
// symmetrised: a learned M is not symmetric, so the basis Q is Arnoldi's.
type ritz struct {
	norm    []float64 // ‖z‖
	values  [][]float64
	vectors []*mat.Dense
}

// arnoldi fills the basis q_1 … q_K, K ≥ 1, of the Krylov space of M from z: one JVP each.
func (s *Space) arnoldi(from start) (*ritz, error) {
	z, n, last := from.z, from.z.N, len(s.q)-1
	t := make([]*mat.Dense, n)
	for i := range t {
		t[i] = mat.NewDense(len(s.q), len(s.q), nil)
	}
	s.dev.Combine(s.q[0], compute.Term{X: z, Coef: inverse(from.norm, nil)})
	for j := range s.q {
		jv, err := from.multiply(j, from)
		if err != nil {
			return nil, err
		}
		var more [][2]compute.Tensor
		if j == 0 && from.variance != nil {
			more = [][2]compute.Tensor{{s.v, jv}, {s.v, s.v}}
		}
		square := make([]float64, n) // ‖M q_j‖²
		for range 2 {                // one pass leaves rounding of the basis, which is all of a next vector that is nearly zero
			dots, err := s.orthogonalise(z, j+1, more)
			if err != nil {
				return nil, err
			}
			for l, dot := range dots[:j+1] {
				for i, v := range dot {
					t[i].Set(l, j, t[i].At(l, j)+v)
					square[i] += v * v
				}
			}
			if more != nil {
				from.measure(dots[1], dots[2])
				more = nil
			}
		}
		if j == last {
			break
		}
		norm, err := compute.Norms(s.dev, z)
		if err != nil {
			return nil, err
		}
		for i, v := range norm {
			t[i].Set(j+1, j, v)
			square[i] = math.Sqrt(square[i] + v*v)
		}
		// An image whose space is exhausted goes on with zeros, which have no weight.
		s.dev.Combine(s.q[j+1], compute.Term{X: z, Coef: inverse(norm, square)})
	}
	return decompose(from.norm, t)
}

// multiply is that of M = Ŝ: it computes z = Ŝ q_j and returns J v, v = Aᵀ P^(−½) q_j in s.v.
func (s *Space) multiply(j int, from start) (jv compute.Tensor, err error) {
	l, z := from.l, from.z
	measure.Power(s.op, s.u, s.q[j], l.R2(), l.S2(), -0.5)
	s.op.Adjoint(s.v, s.u)
	if from.cache {
		jv, err = from.d.JVPCached(j, s.v)
	} else {
		jv, err = from.d.JVP(s.v)
	}
	if err != nil {
		return jv, err
	}
	s.op.Apply(z, jv)
	s.dev.Combine(z, compute.Times(l.C(), z), compute.Times(l.S2(), s.u))
	measure.Power(s.op, z, z, l.R2(), l.S2(), -0.5)
	return jv, nil
}

// measure fills variance from vᵀJv and vᵀv of each image.
func (from start) measure(vJv, vv []float64) {
	for i := range from.variance {
		from.variance[i] = 0
		if vJv[i] > 0 && vv[i] > 0 {
			from.variance[i] = from.l.C() * vJv[i] / vv[i]
		}
	}
}

// orthogonalise takes Σ ⟨z, q_l⟩ q_l over the first k vectors of the basis from z, and
// returns the ⟨z, q_l⟩, then the inner products of more: one wait.
func (s *Space) orthogonalise(z compute.Tensor, k int, more [][2]compute.Tensor) ([][]float64, error) {
	var pairs [][2]compute.Tensor
	for _, q := range s.q[:k] {
		pairs = append(pairs, [2]compute.Tensor{z, q})
	}
	dots, err := s.dev.Dots(append(pairs, more...)...)
	if err != nil {
		return nil, err
	}
	terms := []compute.Term{compute.Times(1, z)}
	for l, dot := range dots[:k] {
		minus := make([]float64, len(dot))
		for i, v := range dot {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, errors.New("the network's Jacobian is not finite here")
			}
			minus[i] = -v
		}
		terms = append(terms, compute.Term{X: s.q[l], Coef: minus})
	}
	for len(terms) > 1 { // Combine takes six at a time
		m := min(6, len(terms))
		s.dev.Combine(z, terms[:m]...)
		terms = append([]compute.Term{compute.Times(1, z)}, terms[m:]...)
	}
	return dots, nil
}

// inverse is 1/x, and 0 where x is zero to rounding beside scale.
func inverse(x, scale []float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		if v > 1e-30 && (scale == nil || v > 1e-6*scale[i]) {
			out[i] = 1 / v
		}
	}
	return out
}

// decompose finds the eigenvalues of each image's T, symmetrised.
func decompose(norm []float64, ts []*mat.Dense) (*ritz, error) {
	r := &ritz{norm: norm}
	for _, t := range ts {
		n, _ := t.Dims()
		sym := mat.NewSymDense(n, nil)
		for i := range n {
			for j := i; j < n; j++ {
				sym.SetSym(i, j, 0.5*(t.At(i, j)+t.At(j, i)))
			}
		}
		var e mat.EigenSym
		if !e.Factorize(sym, true) {
			return nil, errors.New("the eigenvalues of the Lanczos matrix do not converge")
		}
		y := new(mat.Dense)
		e.VectorsTo(y)
		r.values, r.vectors = append(r.values, e.Values(nil)), append(r.vectors, y)
	}
	return r, nil
}

// function returns the factors of ‖z‖ f(T) e_1 for each basis vector and image:
// f(M) z ≈ Q ‖z‖ f(T) e_1.
func (r *ritz) function(f func(image int, e float64) float64) [][]float64 {
	steps := len(r.values[0])
	out := make([][]float64, steps)
	for k := range out {
		out[k] = make([]float64, len(r.vectors))
	}
	for i, y := range r.vectors {
		for e, theta := range r.values[i] {
			w := r.norm[i] * f(i, theta) * y.At(0, e)
			for k := range out {
				out[k][i] += w * y.At(k, e)
			}
		}
	}
	return out
}
