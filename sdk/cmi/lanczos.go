package cmi

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// krylov is, for each image, an orthonormal basis q_1 … q_K of the Krylov space
// of a map S started at z, and T = QᵀSQ, symmetrised: a learned S is not
// symmetric, so the basis is Arnoldi's, orthogonalised in full.
type krylov struct {
	q     []compute.Tensor
	norm  []float64    // ‖z‖ of each image
	theta [][]float64  // eigenvalues of T
	y     []*mat.Dense // their eigenvectors, columns
}

// arnoldi runs len(q) ≥ 1 steps of S, one application each. q holds the basis;
// z is overwritten.
func arnoldi(dev compute.Device, q []compute.Tensor, z compute.Tensor, apply func(dst, q compute.Tensor) error) (*krylov, error) {
	steps, n := len(q), z.N
	k := &krylov{q: q}
	full := make([]*mat.Dense, n)
	for i := range full {
		full[i] = mat.NewDense(steps, steps, nil)
	}
	length, err := compute.Norms(dev, z)
	if err != nil {
		return nil, err
	}
	k.norm = length
	dev.Combine(q[0], compute.Term{X: z, Coef: inverse(length, nil)})
	for j := range steps {
		if err := apply(z, q[j]); err != nil {
			return nil, err
		}
		image := make([]float64, n) // ‖S q_j‖²
		for range 2 {               // once leaves rounding of the basis, which is all of a next vector that is nearly zero
			dots, err := project(dev, q[:j+1], z)
			if err != nil {
				return nil, err
			}
			for l, dot := range dots {
				for i, v := range dot {
					full[i].Set(l, j, full[i].At(l, j)+v)
					image[i] += v * v
				}
			}
		}
		if j == steps-1 {
			break
		}
		if length, err = compute.Norms(dev, z); err != nil {
			return nil, err
		}
		for i, v := range length {
			full[i].Set(j+1, j, v)
			image[i] = math.Sqrt(image[i] + v*v)
		}
		// An image whose space is exhausted goes on with zeros, which have no weight.
		dev.Combine(q[j+1], compute.Term{X: z, Coef: inverse(length, image)})
	}
	return k, k.decompose(full)
}

// project takes Σ ⟨z, q_l⟩ q_l from z and gives the ⟨z, q_l⟩.
func project(dev compute.Device, q []compute.Tensor, z compute.Tensor) ([][]float64, error) {
	dots := make([][]float64, len(q))
	terms := []compute.Term{compute.Times(1, z)}
	for l := range q {
		dot, err := compute.Dot(dev, z, q[l])
		if err != nil {
			return nil, err
		}
		minus := make([]float64, len(dot))
		for i, v := range dot {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, errors.New("the network's Jacobian is not finite here")
			}
			minus[i] = -v
		}
		dots[l] = dot
		terms = append(terms, compute.Term{X: q[l], Coef: minus})
	}
	for len(terms) > 1 { // Combine takes six at a time
		m := min(6, len(terms))
		dev.Combine(z, terms[:m]...)
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

func (k *krylov) decompose(full []*mat.Dense) error {
	for _, f := range full {
		n, _ := f.Dims()
		t := mat.NewSymDense(n, nil)
		for i := range n {
			for j := i; j < n; j++ {
				t.SetSym(i, j, 0.5*(f.At(i, j)+f.At(j, i)))
			}
		}
		var e mat.EigenSym
		if !e.Factorize(t, true) {
			return errors.New("the eigenvalues of the Lanczos matrix do not converge")
		}
		y := new(mat.Dense)
		e.VectorsTo(y)
		k.theta, k.y = append(k.theta, e.Values(nil)), append(k.y, y)
	}
	return nil
}

// function gives the factors of ‖z‖ f(T) e_1 for each basis vector and image:
// f(S) z ≈ Q ‖z‖ f(T) e_1.
func (k *krylov) function(f func(image int, e float64) float64) [][]float64 {
	out := make([][]float64, len(k.q))
	for r := range out {
		out[r] = make([]float64, len(k.y))
	}
	for i, y := range k.y {
		for e, theta := range k.theta[i] {
			w := k.norm[i] * f(i, theta) * y.At(0, e)
			for r := range out {
				out[r][i] += w * y.At(r, e)
			}
		}
	}
	return out
}

// combine is dst = Σ_j coef[j]·q_j.
func (k *krylov) combine(dev compute.Device, dst compute.Tensor, coef [][]float64) {
	for from := 0; from < len(k.q); from += 5 {
		var terms []compute.Term
		if from > 0 {
			terms = append(terms, compute.Times(1, dst))
		}
		for j := from; j < min(from+5, len(k.q)); j++ {
			terms = append(terms, compute.Term{X: k.q[j], Coef: coef[j]})
		}
		dev.Combine(dst, terms...)
	}
}
