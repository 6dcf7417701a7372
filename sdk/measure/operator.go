// Package measure holds measurement operators, y = f(x0) + n: inpainting, blur,
// super-resolution, colourisation, denoising, any small matrix and compositions of
// them, which are linear, and phase retrieval, which is not. They run on a
// [compute.Device] and use its primitives only, so that every device serves them.
//
// An operator implements [Operator] and what else it can: [Linear] or [Differentiable],
// and as a linear one [Spectral] and [Lifter]. The package's functions compute what
// follows: [VJP], [Power], [LogDet], [PseudoInverse].
//
// Images x are in [−1, 1], NCHW, and so is the scale of the noise n.
package measure

import (
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Operator is a forward model y = f(x) from images [N,In] to measurements [N,Out], any
// number N of them at a time.
//
// Work is queued on the operator's device; a failure is returned by the device's
// next Read, Dots or Sync. An operator is used by one goroutine at a time.
type Operator interface {
	// Name is short and stable: "sr4".
	Name() string
	// In returns the shape of an image.
	In() (c, h, w int)
	// Out returns the shape of a measurement.
	Out() (c, h, w int)
	// Apply computes dst = f(x). dst and x must not overlap.
	Apply(dst, x compute.Tensor)
	// Close frees its device memory.
	Close()
}

// Differentiable is a nonlinear operator with a gradient, for methods that need no more
// than that of the misfit, such as DPS.
type Differentiable interface {
	Operator
	// VJP computes dst = (∂f/∂x)ᵀ u at x, the vector-Jacobian product. dst must not
	// overlap x or u.
	VJP(dst, x, u compute.Tensor)
}

// Linear is an operator f(x) = A x. Rows of A that are zero are not measured (the
// missing pixels of inpainting): Apply gives zero there.
type Linear interface {
	Operator
	// Adjoint computes dst = Aᵀ y, exactly: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ to rounding. dst and
	// y must not overlap.
	Adjoint(dst, y compute.Tensor)
	// Scale computes dst = factor·z on the measured coordinates and 0 elsewhere; dst may
	// be z. A factor of 1 changes no measured value.
	Scale(dst, z compute.Tensor, factor float64)
	// Measured returns the number m of measured coordinates, at most c·h·w of Out.
	Measured() int
	// LargestEigenvalue returns λ_max(A Aᵀ).
	LargestEigenvalue() float64
}

// Spectral is a linear operator whose A Aᵀ has known eigenvectors. Call [Power] and
// [LogDet], which serve all linear operators.
type Spectral interface {
	Linear
	// Power computes dst = P^p z as the function [Power] does, with A Aᵀ itself.
	Power(dst, z compute.Tensor, r2, s2, p float64)
	// Function computes dst = f(A Aᵀ) z on the measured coordinates and 0 elsewhere, f of
	// the eigenvalues in [0, λ_max], finite there; dst may be z.
	Function(dst, z compute.Tensor, f func(eigenvalue float64) float64)
	// LogDet returns log det P on the measured coordinates of one image.
	LogDet(r2, s2 float64) float64
}

// Lifter is an operator with a cheap picture of a measurement in image space,
// A Lift(y) ≈ y, which methods that project onto the measurement are published
// with: nearest neighbour for super-resolution, the pixels kept for inpainting.
type Lifter interface {
	Linear
	// Lift writes the picture of y. dst and y must not overlap.
	Lift(dst, y compute.Tensor)
}

// VJP computes dst = (∂f/∂x)ᵀ u at x, Aᵀu whatever the x where the operator is linear.
// The operator is [Linear] or [Differentiable].
func VJP(op Operator, dst, x, u compute.Tensor) {
	if a, ok := op.(Linear); ok {
		a.Adjoint(dst, u)
		return
	}
	op.(Differentiable).VJP(dst, x, u)
}

// Power computes dst = P^p z on the measured coordinates and 0 elsewhere,
// P = r² A Aᵀ + s² I; dst may be z. r2 ≥ 0, s2 > 0, p any number; an s2 below
// 1e-10 r² λ_max, less than float32 can tell from zero, counts as that.
//
// Where the operator is not exact, see [Exact], P is the bound (r² λ_max + s²) I.
func Power(op Linear, dst, z compute.Tensor, r2, s2, p float64) {
	if a, ok := op.(Spectral); ok {
		a.Power(dst, z, r2, s2, p)
		return
	}
	op.Scale(dst, z, math.Pow(bound(op, r2, s2), p))
}

// LogDet returns log det P on the measured coordinates of one image, P as in [Power]. For the
// images of a [NewPerImage] operator take [Of].
func LogDet(op Linear, r2, s2 float64) float64 {
	if a, ok := op.(Spectral); ok {
		return a.LogDet(r2, s2)
	}
	return float64(op.Measured()) * math.Log(bound(op, r2, s2))
}

// Exact says whether Power and LogDet take A Aᵀ itself, or its bound.
func Exact(op Linear) bool {
	if batch, ok := op.(linearPerImage); ok {
		return !slices.ContainsFunc(batch.all, func(one Operator) bool { return !Exact(one.(Linear)) })
	}
	_, ok := op.(Spectral)
	return ok
}

// Lift writes the picture of y of a [Lifter] to dst, and says whether the operator is one;
// every image's must be.
func Lift(op Linear, dst, y compute.Tensor) bool {
	if batch, ok := op.(linearPerImage); ok {
		for _, one := range batch.all {
			if _, ok := one.(Lifter); !ok {
				return false
			}
		}
		images(batch.perImage, dst, y, Lifter.Lift)
		return true
	}
	l, ok := op.(Lifter)
	if ok {
		l.Lift(dst, y)
	}
	return ok
}

// bound returns the eigenvalue of (r² λ_max + s²) I.
func bound(op Linear, r2, s2 float64) float64 {
	largest := op.LargestEigenvalue()
	return r2*largest + floor(r2, s2, largest)
}

// floor is s² with the least value that Power's contract gives it.
func floor(r2, s2, largest float64) float64 { return max(s2, 1e-10*r2*largest) }

// shape is what every operator says about itself.
type shape struct {
	name    string
	in, out [3]int
}

func (s *shape) Name() string       { return s.name }
func (s *shape) In() (c, h, w int)  { return s.in[0], s.in[1], s.in[2] }
func (s *shape) Out() (c, h, w int) { return s.out[0], s.out[1], s.out[2] }

// shapesOf returns an operator's In and Out.
func shapesOf(op Operator) (in, out [3]int) {
	in[0], in[1], in[2] = op.In()
	out[0], out[1], out[2] = op.Out()
	return in, out
}

// checkImage returns an error where c×h×w is no shape of an image.
func checkImage(c, h, w int) error {
	if c < 1 || h < 1 || w < 1 {
		return fmt.Errorf("images of %d×%d×%d, at least 1×1×1 is wanted", c, h, w)
	}
	return nil
}

// ready is op, or the error that its construction met.
func ready[Op Operator](op Op, err error) (made Op, _ error) {
	if err != nil {
		op.Close()
		return made, fmt.Errorf("the operator %s: %w", op.Name(), err)
	}
	return op, nil
}

// memory is an operator's device and its tensors on it.
type memory struct {
	dev compute.Device
	ws  *compute.Workspace
}

func newMemory(dev compute.Device) memory { return memory{dev, compute.NewWorkspace(dev)} }

func (m *memory) Close() { m.ws.Free() }
