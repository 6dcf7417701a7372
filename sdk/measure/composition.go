package measure

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// composition is B A: first the inner A, then the outer B.
type composition struct {
	shape
	memory
	outer, inner Linear
	keep         compute.Tensor // 1 where B A has a row that is not zero
	measured     int
	largest      float64
}

// Compose is outer after inner, the two on that device: a picture that is blurred,
// then reduced. It has no spectral form, so that its [Power] is the bound.
// Closing it closes both; after an error they are still the caller's to close.
func Compose(dev compute.Device, outer, inner Linear) (Linear, error) {
	in, between := shapesOf(inner)
	wanted, out := shapesOf(outer)
	if between != wanted {
		return nil, fmt.Errorf("%s gives %d×%d×%d, %s after it wants %d×%d×%d", inner.Name(),
			between[0], between[1], between[2], outer.Name(), wanted[0], wanted[1], wanted[2])
	}
	o := &composition{
		shape:  shape{inner.Name() + "+" + outer.Name(), in, out},
		memory: newMemory(dev), outer: outer, inner: inner,
	}
	err := o.findMeasured()
	if err == nil {
		o.largest, err = powerIteration(o, o.ws, o.in, o.out)
	}
	if err != nil {
		o.memory.Close()
		return nil, fmt.Errorf("the operator %s: %w", o.name, err)
	}
	return o, nil
}

// findMeasured finds the rows of B A that are zero, whose result is zero for any
// image: of two random images, for those that are zero in float32 by chance.
func (o *composition) findMeasured() error {
	const images = 2
	x := o.ws.Scratch("images", images, o.in[0], o.in[1], o.in[2])
	y := o.ws.Scratch("measurements", images, o.out[0], o.out[1], o.out[2])
	if err := o.ws.Err(); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	values := make([]float32, images*x.Len())
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	o.dev.Write(x, values)
	o.Apply(y, x)
	results, err := compute.ToHost(o.dev, y)
	if err != nil {
		return err
	}
	keep := make([]float32, y.Len())
	for i, v := range results {
		if v != 0 {
			keep[i%len(keep)] = 1
		}
	}
	for _, v := range keep {
		o.measured += int(v)
	}
	if o.measured == 0 {
		return errors.New("the operator A is zero: nothing would be measured")
	}
	o.keep = o.ws.FromHost(keep, 1, o.out[0], o.out[1], o.out[2])
	return o.ws.Err()
}

// between returns the scratch for n images after the inner operator.
func (o *composition) between(n int) compute.Tensor {
	c, h, w := o.inner.Out()
	return o.ws.Scratch("between", n, c, h, w)
}

func (o *composition) Measured() int { return o.measured }

func (o *composition) Apply(dst, x compute.Tensor) {
	t := o.between(x.N)
	o.inner.Apply(t, x)
	o.outer.Apply(dst, t)
}

func (o *composition) Adjoint(dst, y compute.Tensor) {
	t := o.between(y.N)
	o.outer.Adjoint(t, y)
	o.inner.Adjoint(dst, t)
}

func (o *composition) Scale(dst, z compute.Tensor, factor float64) {
	o.dev.Mul(dst, z, o.keep)
	if factor != 1 {
		o.dev.Combine(dst, compute.Times(factor, dst))
	}
}

func (o *composition) LargestEigenvalue() float64 { return o.largest }

func (o *composition) Close() {
	o.memory.Close()
	o.outer.Close()
	o.inner.Close()
}
