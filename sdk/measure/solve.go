package measure

import (
	"errors"
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// What operators without a spectral form need: conjugate gradients and power
// iteration, on A and Aᵀ alone.

const (
	solveSteps     = 1000
	solveTolerance = 1e-5 // ‖residual‖/‖y‖: about what float32 can reach
	solveRefuses   = 1e-2 // beyond this the result is an error
)

// solve computes dst = Aᵀ (A Aᵀ + λI)⁻¹ y by conjugate gradients, each image with
// its own step lengths.
func solve(op Operator, m *memory, dst, y compute.Tensor, lambda float64) error {
	lambda, err := damped(lambda, op.LargestEigenvalue())
	if err != nil {
		return err
	}
	dev, n := m.dev, y.N
	_, h, w := op.In()
	like := func(slot int) compute.Tensor { return m.temp(slot, n, y.C, y.H, y.W) }
	u, r, q, aq := like(10), like(11), like(12), like(13)
	image := m.temp(14, n, dst.C, h, w)
	if err := m.fixed.Err(); err != nil {
		return err
	}
	dev.Combine(u, compute.Times(0, y))
	dev.Combine(r, compute.Times(1, y))
	dev.Combine(q, compute.Times(1, y))
	rr, err := compute.Dot(dev, r, r)
	if err != nil {
		return err
	}
	start := append([]float64(nil), rr...)
	for range solveSteps {
		if worst := relativeResidual(rr, start); worst <= solveTolerance || math.IsNaN(worst) {
			break
		}
		op.Adjoint(image, q)
		op.Apply(aq, image)
		dev.Combine(aq, compute.Times(1, aq), compute.Times(lambda, q))
		qaq, err := compute.Dot(dev, q, aq)
		if err != nil {
			return err
		}
		step, minus, keep := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range step {
			if qaq[i] > 0 && rr[i] > solveTolerance*solveTolerance*start[i] { // an image that is done stands still
				step[i] = rr[i] / qaq[i]
				minus[i] = -step[i]
			}
		}
		dev.Combine(u, compute.Times(1, u), compute.Term{X: q, Coef: step})
		dev.Combine(r, compute.Times(1, r), compute.Term{X: aq, Coef: minus})
		next, err := compute.Dot(dev, r, r)
		if err != nil {
			return err
		}
		for i := range keep {
			if step[i] != 0 {
				keep[i] = next[i] / rr[i]
			}
		}
		rr = next
		dev.Combine(q, compute.Times(1, r), compute.Term{X: q, Coef: keep})
	}
	switch worst := relativeResidual(rr, start); {
	case math.IsNaN(worst):
		return fmt.Errorf("the pseudo-inverse of %s was given a measurement that is not finite", op.Name())
	case worst > solveRefuses:
		return fmt.Errorf("the pseudo-inverse of %s stopped at a relative residual of %.1e after %d steps with lambda %.1e: take a larger lambda", op.Name(), worst, solveSteps, lambda)
	}
	op.Adjoint(dst, u)
	return nil
}

// relativeResidual is the largest ‖r‖/‖y‖ of the images, from the squares.
func relativeResidual(rr, start []float64) float64 {
	worst := 0.0
	for i, v := range rr {
		if v != 0 {
			worst = max(worst, math.Sqrt(v/start[i])) // max keeps NaN
		}
	}
	return worst
}

// bound is the eigenvalue of P = (r² λ_max + s²) I, s² as in Power's contract.
func bound(r2, s2, largest float64) float64 { return r2*largest + floor(r2, s2, largest) }

// powerIteration is λ_max(A Aᵀ) to about 1e-3 and from below, from one image and
// one measurement of those shapes: the operator's, or with one channel where it
// treats all alike.
func powerIteration(op Operator, m *memory, in, out [3]int) (float64, error) {
	x, y := m.temp(0, 1, in[0], in[1], in[2]), m.temp(1, 1, out[0], out[1], out[2])
	if err := m.fixed.Err(); err != nil {
		return 0, err
	}
	start := make([]float32, x.Len())
	state := uint32(1)
	for i := range start { // a constant and a disturbance, so that no eigenvector is orthogonal
		state = state*1664525 + 1013904223
		start[i] = 1 + float32(state>>16)/65536
	}
	m.dev.Write(x, start)
	largest := 0.0
	for range 100 {
		xx, err := compute.Dot(m.dev, x, x)
		if err != nil {
			return 0, err
		}
		if !(xx[0] > 0) {
			return 0, errors.New("A is zero: nothing would be measured")
		}
		m.dev.Combine(x, compute.Times(1/math.Sqrt(xx[0]), x))
		op.Apply(y, x)
		square, err := compute.Dot(m.dev, y, y) // ‖A x‖² at ‖x‖ = 1
		if err != nil {
			return 0, err
		}
		before := largest
		largest = max(largest, square[0])
		if largest-before < 1e-5*largest {
			break
		}
		op.Adjoint(x, y)
	}
	return largest, nil
}
