package measure

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// NewPerImage is an operator for batches whose images were measured differently,
// each with its own mask or kernel: image n of a batch has operators[n mod B].
// The operators take images of one shape to measurements of one shape. Closing it
// closes them; so does a failure.
//
// It is a [Lifter] where all of them are. What depends on one image is told by
// LogDetOf and LargestEigenvalueOf; LogDet is the mean, and LargestEigenvalue the
// largest.
func NewPerImage(operators ...Operator) (Operator, error) {
	p := &perImage{}
	lifters := true
	for i, op := range operators {
		c, h, w := op.In()
		oc, oh, ow := op.Out()
		s := shape{op.Name(), [3]int{c, h, w}, [3]int{oc, oh, ow}}
		if i == 0 {
			p.shape = s
		}
		if s.in != p.in || s.out != p.out {
			return ready(p, fmt.Errorf("image %d is measured by %s from %v to %v, image 0 from %v to %v: shapes of one batch must agree", i, s.name, s.in, s.out, p.in, p.out))
		}
		p.all = append(p.all, op)
		_, lifts := op.(Lifter)
		lifters = lifters && lifts
	}
	if len(p.all) == 0 {
		return nil, fmt.Errorf("a batch of no operators, at least one is wanted")
	}
	if lifters {
		return lifting{p}, nil
	}
	return p, nil
}

type perImage struct {
	shape
	all []Operator
}

// images calls task for every image, with its operator.
func (p *perImage) images(dst, src compute.Tensor, task func(op Operator, dst, src compute.Tensor)) {
	for n := range dst.N {
		from := n % max(1, src.N)
		task(p.all[n%len(p.all)], dst.Images(n, n+1), src.Images(from, from+1))
	}
}

func (p *perImage) of(image int) Operator { return p.all[image%len(p.all)] }

// Apply implements [Forward].
func (p *perImage) Apply(dst, x compute.Tensor) { p.images(dst, x, Operator.Apply) }

// Adjoint implements [Operator].
func (p *perImage) Adjoint(dst, y compute.Tensor) { p.images(dst, y, Operator.Adjoint) }

// Power implements [Operator].
func (p *perImage) Power(dst, z compute.Tensor, r2, s2, power float64) {
	p.images(dst, z, func(op Operator, dst, z compute.Tensor) { op.Power(dst, z, r2, s2, power) })
}

// PseudoInverse implements [Operator].
func (p *perImage) PseudoInverse(dst, y compute.Tensor, lambda float64) (err error) {
	p.images(dst, y, func(op Operator, dst, y compute.Tensor) {
		if err == nil {
			err = op.PseudoInverse(dst, y, lambda)
		}
	})
	return err
}

// Measured implements [Operator]: of the image with the most.
func (p *perImage) Measured() (most int) {
	for _, op := range p.all {
		most = max(most, op.Measured())
	}
	return most
}

// LogDet implements [Operator]: the mean over the images.
func (p *perImage) LogDet(r2, s2 float64) (mean float64) {
	for _, op := range p.all {
		mean += op.LogDet(r2, s2) / float64(len(p.all))
	}
	return mean
}

// LogDetOf is the image's log det P.
func (p *perImage) LogDetOf(image int, r2, s2 float64) float64 { return p.of(image).LogDet(r2, s2) }

// LargestEigenvalue implements [Operator]: the largest of all images.
func (p *perImage) LargestEigenvalue() (largest float64) {
	for _, op := range p.all {
		largest = max(largest, op.LargestEigenvalue())
	}
	return largest
}

// LargestEigenvalueOf is λ_max(A Aᵀ) of the image's operator.
func (p *perImage) LargestEigenvalueOf(image int) float64 { return p.of(image).LargestEigenvalue() }

// Exact implements [Operator]: whether all are.
func (p *perImage) Exact() bool {
	for _, op := range p.all {
		if !op.Exact() {
			return false
		}
	}
	return true
}

// Close implements [Operator].
func (p *perImage) Close() {
	for _, op := range p.all {
		op.Close()
	}
}

// lifting is perImage of lifters.
type lifting struct{ *perImage }

// Lift implements [Lifter].
func (l lifting) Lift(dst, y compute.Tensor) {
	l.images(dst, y, func(op Operator, dst, y compute.Tensor) { op.(Lifter).Lift(dst, y) })
}
