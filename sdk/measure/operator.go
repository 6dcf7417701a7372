// Package measure holds linear measurement operators A, y = A x + n: inpainting,
// blur, super-resolution, colourisation, denoising, any small matrix, and
// compositions of them; and phase retrieval, which is not linear. They run on a
// [compute.Device] and use its primitives only, so that every device serves them.
//
// Images x are in [−1, 1], NCHW, and so is the scale of the noise n.
package measure

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Forward is a forward model y = f(x), linear or not, from images [N,In] to
// measurements [N,Out], any number N of them at a time.
type Forward interface {
	// Name is short and stable: "sr4".
	Name() string
	// In is the shape of an image.
	In() (c, h, w int)
	// Out is the shape of a measurement.
	Out() (c, h, w int)
	// Apply computes dst = f(x). dst and x must not overlap.
	Apply(dst, x compute.Tensor)
	// Close frees its device memory.
	Close()
}

// Differentiable is a forward model that a method which needs no more than the
// gradient of the misfit, such as DPS, can use: a nonlinear one as it is, an
// [Operator] by [Linear].
type Differentiable interface {
	Forward
	// VJP computes dst = (∂f/∂x)ᵀ u at x, the vector-Jacobian product. dst must not
	// overlap x or u.
	VJP(dst, x, u compute.Tensor)
}

// Linear is an operator as a [Differentiable] model, whose VJP is the adjoint
// whatever the x. Closing either closes both.
func Linear(op Operator) Differentiable { return linear{op} }

type linear struct{ Operator }

// VJP implements [Differentiable].
func (l linear) VJP(dst, _, u compute.Tensor) { l.Adjoint(dst, u) }

// Operator is a linear map A from images [N,In] to measurements [N,Out], any
// number N of them at a time. Rows of A that are zero are not measured (the
// missing pixels of inpainting): Apply gives zero there, and Power ignores and
// gives zero there.
//
// Work is queued on the operator's device; a failure is returned by the device's
// next Read, Dot or Sync. An operator is used by one goroutine at a time.
type Operator interface {
	Forward
	// Measured is the number m of measured coordinates, at most c·h·w of Out.
	Measured() int

	// Adjoint computes dst = Aᵀ y, exactly: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ to rounding. dst and
	// y must not overlap.
	Adjoint(dst, y compute.Tensor)
	// Power computes dst = P^p z on the measured coordinates, P = r² A Aᵀ + s² I;
	// dst may be z. r2 ≥ 0, s2 > 0, p any number; an s2 below 1e-10 r² λ_max, less
	// than float32 can tell from zero, counts as that. r2 = 0, s2 = 1, p = 1 leaves z
	// as it is and zeroes what is not measured.
	//
	// Where Exact is false P is the bound (r² λ_max + s²) I.
	Power(dst, z compute.Tensor, r2, s2, p float64)
	// LogDet is log det P on the measured coordinates of one image, P as in Power.
	LogDet(r2, s2 float64) float64
	// Exact says whether Power and LogDet take A Aᵀ itself, or its bound.
	Exact() bool
	// LargestEigenvalue is λ_max(A Aᵀ).
	LargestEigenvalue() float64
	// PseudoInverse computes dst = Aᵀ (A Aᵀ + λI)⁻¹ y, also where Power is a bound
	// (by conjugate gradients). λ ≥ 0; below 1e-7 λ_max it counts as that. dst and y
	// must not overlap. With λ = s²/r² it is r² Aᵀ P⁻¹ y.
	PseudoInverse(dst, y compute.Tensor, lambda float64) error
}

// Lifter is an operator with a cheap picture of a measurement in image space,
// A Lift(y) ≈ y, which methods that project onto the measurement are published
// with: nearest neighbour for super-resolution, the pixels kept for inpainting.
type Lifter interface {
	Operator
	// Lift writes the picture of y. dst and y must not overlap.
	Lift(dst, y compute.Tensor)
}

// shape is what every operator says about itself.
type shape struct {
	name    string
	in, out [3]int
}

func (s *shape) Name() string       { return s.name }
func (s *shape) In() (c, h, w int)  { return s.in[0], s.in[1], s.in[2] }
func (s *shape) Out() (c, h, w int) { return s.out[0], s.out[1], s.out[2] }

// checkImage is an error where c×h×w is no shape of an image.
func checkImage(c, h, w int) error {
	if c < 1 || h < 1 || w < 1 {
		return fmt.Errorf("images of %d×%d×%d, at least 1×1×1 is wanted", c, h, w)
	}
	return nil
}

// ready is op, or the error that its construction met.
func ready(op Operator, err error) (Operator, error) {
	if err != nil {
		op.Close()
		return nil, fmt.Errorf("the operator %s: %w", op.Name(), err)
	}
	return op, nil
}

// memory is an operator's tensors: fixed ones, and scratch that is kept for each
// number of images, so that a run allocates in its first step only.
type memory struct {
	dev     compute.Device
	fixed   *compute.Workspace
	scratch map[scratchKey]compute.Tensor
}

type scratchKey struct {
	slot  int
	shape [4]int
}

func newMemory(dev compute.Device) memory {
	return memory{dev: dev, fixed: compute.NewWorkspace(dev), scratch: map[scratchKey]compute.Tensor{}}
}

// temp is the scratch tensor of that slot and shape. Where its allocation fails the
// device refuses the work with the reason.
func (m *memory) temp(slot, n, c, h, w int) compute.Tensor {
	key := scratchKey{slot, [4]int{n, c, h, w}}
	t, ok := m.scratch[key]
	if !ok {
		if t = m.fixed.New(n, c, h, w); m.fixed.Err() == nil {
			m.scratch[key] = t
		}
	}
	return t
}

// Close implements [Operator].
func (m *memory) Close() {
	m.fixed.Free()
	clear(m.scratch)
}

// floor is s² with the least value that Power's contract gives it.
func floor(r2, s2, largest float64) float64 { return max(s2, 1e-10*r2*largest) }

// damped is λ with the least value that PseudoInverse's contract gives it.
func damped(lambda, largest float64) (float64, error) {
	if !(lambda >= 0) || lambda > 1e30 {
		return 0, fmt.Errorf("the damping lambda of a pseudo-inverse is %v, a number ≥ 0 is wanted", lambda)
	}
	return max(lambda, 1e-7*largest), nil
}

// invert is PseudoInverse of an operator whose Power is exact.
func invert(op Operator, m *memory, dst, y compute.Tensor, lambda float64) error {
	lambda, err := damped(lambda, op.LargestEigenvalue())
	if err != nil {
		return err
	}
	t := m.temp(2, y.N, y.C, y.H, y.W)
	if err := m.fixed.Err(); err != nil {
		return err
	}
	op.Power(t, y, 1, lambda, -1)
	op.Adjoint(dst, t)
	return nil
}
