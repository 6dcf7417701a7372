package measure

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// NewPerImage returns an operator for batches whose images were measured differently,
// each with its own mask or kernel: image n of a batch has operators[n mod B].
// The operators take images of one shape to measurements of one shape; all are linear or
// all are differentiable. Closing it closes them; so does a failure.
//
// Where they are linear, it is, and lifts and takes powers image by image; Measured and
// LargestEigenvalue are those of the image with the most. [Of] gives an image's own.
func NewPerImage(operators ...Operator) (Operator, error) {
	p := &perImage{all: operators}
	if len(p.all) == 0 {
		return nil, fmt.Errorf("a batch of no operators, at least one is wanted")
	}
	p.name = operators[0].Name()
	p.in, p.out = shapesOf(operators[0])
	linear := 0
	for i, op := range operators {
		if in, out := shapesOf(op); in != p.in || out != p.out {
			return ready[Operator](p, fmt.Errorf("image %d is measured by %s from %v to %v, image 0 from %v to %v: shapes of one batch must agree", i, op.Name(), in, out, p.in, p.out))
		}
		if _, ok := op.(Linear); ok {
			linear++
		} else if _, ok := op.(Differentiable); !ok {
			return ready[Operator](p, fmt.Errorf("image %d is measured by %s, which has no gradient", i, op.Name()))
		}
	}
	switch linear {
	case len(operators):
		return linearPerImage{p}, nil
	case 0:
		return p, nil
	}
	return ready[Operator](p, fmt.Errorf("%d operators of %d are linear: all or none of one batch must be", linear, len(operators)))
}

// Of returns the operator of an image of the batch: op itself, unless it is of
// [NewPerImage].
func Of(op Linear, image int) Linear {
	if batch, ok := op.(linearPerImage); ok {
		return batch.of(image)
	}
	return op
}

type perImage struct {
	shape
	all []Operator
}

// images calls task for every image, with its operator.
func images[Op any](p *perImage, dst, src compute.Tensor, task func(op Op, dst, src compute.Tensor)) {
	for n := range dst.N {
		from := n % max(1, src.N)
		task(p.all[n%len(p.all)].(Op), dst.Images(n, n+1), src.Images(from, from+1))
	}
}

func (p *perImage) Apply(dst, x compute.Tensor) { images(p, dst, x, Operator.Apply) }

func (p *perImage) VJP(dst, x, u compute.Tensor) {
	for n := range dst.N {
		VJP(p.all[n%len(p.all)], dst.Images(n, n+1), x.Images(n, n+1), u.Images(n, n+1))
	}
}

func (p *perImage) Close() {
	for _, op := range p.all {
		op.Close()
	}
}

// linearPerImage is perImage of linear operators.
type linearPerImage struct{ *perImage }

func (p linearPerImage) of(image int) Linear { return p.all[image%len(p.all)].(Linear) }

func (p linearPerImage) Adjoint(dst, y compute.Tensor) { images(p.perImage, dst, y, Linear.Adjoint) }

func (p linearPerImage) Scale(dst, z compute.Tensor, factor float64) {
	images(p.perImage, dst, z, func(op Linear, dst, z compute.Tensor) { op.Scale(dst, z, factor) })
}

func (p linearPerImage) Measured() (most int) {
	for i := range p.all {
		most = max(most, p.of(i).Measured())
	}
	return most
}

func (p linearPerImage) LargestEigenvalue() (largest float64) {
	for i := range p.all {
		largest = max(largest, p.of(i).LargestEigenvalue())
	}
	return largest
}

func (p linearPerImage) Power(dst, z compute.Tensor, r2, s2, power float64) {
	images(p.perImage, dst, z, func(op Linear, dst, z compute.Tensor) { Power(op, dst, z, r2, s2, power) })
}

// Function implements [Spectral] where the images' operators do, see [Exact].
func (p linearPerImage) Function(dst, z compute.Tensor, f func(float64) float64) {
	images(p.perImage, dst, z, func(op Linear, dst, z compute.Tensor) { op.(Spectral).Function(dst, z, f) })
}

// LogDet implements [Spectral]: the mean over the images.
func (p linearPerImage) LogDet(r2, s2 float64) (mean float64) {
	for i := range p.all {
		mean += LogDet(p.of(i), r2, s2) / float64(len(p.all))
	}
	return mean
}
