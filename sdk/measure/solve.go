package measure

import (
	"errors"
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

const (
	solveSteps     = 1000
	solveTolerance = 1e-5 // ‖residual‖/‖y‖: about what float32 can reach
	solveRefuses   = 1e-2 // beyond this the result is an error
)

// PseudoInverse computes dst = Aᵀ (A Aᵀ + λI)⁻¹ y, by [Power] where that is exact and by
// conjugate gradients elsewhere. λ ≥ 0; below 1e-7 λ_max it counts as that. dst and y
// must not overlap. With λ = s²/r² it is r² Aᵀ P⁻¹ y. ws holds the scratch.
func PseudoInverse(ws *compute.Workspace, op Linear, dst, y compute.Tensor, lambda float64) (err error) {
	if batch, ok := op.(linearPerImage); ok {
		images(batch.perImage, dst, y, func(op Linear, dst, y compute.Tensor) {
			if err == nil {
				err = PseudoInverse(ws, op, dst, y, lambda)
			}
		})
		return err
	}
	if !(lambda >= 0) || lambda > 1e30 {
		return fmt.Errorf("the damping lambda of a pseudo-inverse is %v, a number ≥ 0 is wanted", lambda)
	}
	lambda = max(lambda, 1e-7*op.LargestEigenvalue())
	known := ws.ScratchLike("pseudo-inverse", y)
	if err := ws.Err(); err != nil {
		return err
	}
	if a, ok := op.(Spectral); ok {
		a.Power(known, y, 1, lambda, -1)
		op.Adjoint(dst, known)
		return nil
	}
	op.Scale(known, y, 1)
	return conjugateGradients(ws, op, dst, known, compute.Tensor{}, lambda)
}

// WeightedInverse computes dst = Aᵀ (A D Aᵀ + λI)⁻¹ y, λ > 0, by conjugate gradients; D is the diagonal
// matrix of the values d ≥ 0, of dst's shape. ws holds the scratch.
func WeightedInverse(ws *compute.Workspace, op Linear, dst, y, d compute.Tensor, lambda float64) error {
	if Of(op, 0) != op {
		for n := range dst.N {
			if err := WeightedInverse(ws, Of(op, n), dst.Images(n, n+1), y.Images(n, n+1), d.Images(n, n+1), lambda); err != nil {
				return err
			}
		}
		return nil
	}
	known := ws.ScratchLike("pseudo-inverse", y)
	if err := ws.Err(); err != nil {
		return err
	}
	op.Scale(known, y, 1)
	return conjugateGradients(ws, op, dst, known, d, lambda)
}

// conjugateGradients computes dst = Aᵀ (A D Aᵀ + λI)⁻¹ y, each image with its own step
// lengths. D is the diagonal matrix of d; without a buffer it is I.
func conjugateGradients(ws *compute.Workspace, op Linear, dst, y, d compute.Tensor, lambda float64) error {
	dev, n := ws.Device(), y.N
	u, r := ws.ScratchLike("solution", y), ws.ScratchLike("residual", y)
	q, aq := ws.ScratchLike("direction", y), ws.ScratchLike("product", y)
	image := ws.ScratchLike("image", dst)
	if err := ws.Err(); err != nil {
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
		if d.Buf != nil {
			dev.Mul(image, image, d)
		}
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

// relativeResidual returns the largest ‖r‖/‖y‖ of the images, from the squares.
func relativeResidual(rr, start []float64) float64 {
	worst := 0.0
	for i, v := range rr {
		if v != 0 {
			worst = max(worst, math.Sqrt(v/start[i])) // max keeps NaN
		}
	}
	return worst
}

// powerIteration returns λ_max(A Aᵀ) to about 1e-3 and from below, from one image and
// one measurement of those shapes: the operator's, or with one channel where it
// treats all alike.
func powerIteration(op Linear, ws *compute.Workspace, in, out [3]int) (float64, error) {
	dev := ws.Device()
	x, y := ws.Scratch("iterated image", 1, in[0], in[1], in[2]), ws.Scratch("iterated measurement", 1, out[0], out[1], out[2])
	if err := ws.Err(); err != nil {
		return 0, err
	}
	start := make([]float32, x.Len())
	state := uint32(1)
	for i := range start { // a constant and a disturbance, so that no eigenvector is orthogonal
		state = state*1664525 + 1013904223
		start[i] = 1 + float32(state>>16)/65536
	}
	dev.Write(x, start)
	largest := 0.0
	for range 100 {
		xx, err := compute.Dot(dev, x, x)
		if err != nil {
			return 0, err
		}
		if !(xx[0] > 0) {
			return 0, errors.New("the operator A is zero: nothing would be measured")
		}
		dev.Combine(x, compute.Times(1/math.Sqrt(xx[0]), x))
		op.Apply(y, x)
		square, err := compute.Dot(dev, y, y) // ‖A x‖² at ‖x‖ = 1
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
