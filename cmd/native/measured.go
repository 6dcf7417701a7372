package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// subject is one image to restore.
type subject struct {
	name   string
	number uint64 // keys the random numbers
	truth  picture.Image
	task   string
}

// measured is a subject with its operator and measurement.
type measured struct {
	subject
	build     func(prior.Model, *measured) error // makes the operator
	home      prior.Model                        // on whose device it is
	op        measure.Operator                   // nil where the operator is nonlinear
	nonlinear measure.Differentiable             // nil where it is linear
	y         []float32
	keep      []float32 // pixels that are measured, where that is a mask
}

// settle moves the operator to a prior's device. The device that it was on, if that
// was another, is closed with everything on it.
func (m *measured) settle(to prior.Model) error {
	if m.home == to {
		return nil
	}
	err := m.build(to, m)
	if err == nil {
		m.home = to
	}
	return err
}

// closeAll releases the operators.
func closeAll(all []*measured) {
	for _, m := range all {
		if m.home != nil {
			m.forward().Close()
		}
	}
}

// forward is the operator, linear or not.
func (m *measured) forward() measure.Forward {
	if m.op != nil {
		return m.op
	}
	return m.nonlinear
}

// operatorFor is the operator of a subject's task.
func operatorFor(m prior.Model, s subject, seed uint64) (measure.Operator, error) {
	c, h, w := m.Image()
	rng := diffusion.Stream{Seed: seed, Image: s.number, Purpose: diffusion.Degradation}.Rand()
	return measure.ForTask(s.task, m.Device(), c, h, w, rng)
}

// observe degrades a subject: the operator and the noise depend on the seed and
// the subject's number alone.
func observe(m prior.Model, s subject, sigmaY float64, seed uint64) (*measured, error) {
	one := &measured{subject: s, build: func(m prior.Model, one *measured) (err error) {
		one.op, err = operatorFor(m, s, seed)
		return err
	}}
	if err := one.settle(m); err != nil {
		return nil, err
	}
	var err error
	if one.y, err = sdk.Measure(m.Device(), one.op, s.truth.Pix, sigmaY, seed, []uint64{s.number}); err == nil {
		one.keep, err = measure.MeasuredPixels(m.Device(), one.op)
	}
	if err != nil {
		closeAll([]*measured{one})
		return nil, failed(err)
	}
	return one, nil
}

// picture of the measurement itself.
func (m *measured) picture() picture.Image {
	c, h, w := m.forward().Out()
	return picture.Image{C: c, H: h, W: w, Pix: m.y, Name: m.name}
}

// subjects makes every measurement before any sampling.
func (f *restoreFlags) subjects(m prior.Model, pictures []picture.Image) (all []*measured, err error) {
	c, h, w := m.Image()
	if c != 3 {
		return nil, fmt.Errorf("the prior's images have %d channels, pictures have 3", c)
	}
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	for i, p := range pictures {
		s := subject{p.Name, uint64(i), p, f.task}
		one, err := f.operator(m, s)
		all = append(all, one)
		if err != nil {
			return all, err
		}
		if f.isMeasured {
			c, oh, ow := one.forward().Out()
			if c != 3 || f.task == "phase" {
				return all, fmt.Errorf("a measurement of task %s is no picture: --measured can't be used with it", f.task)
			}
			one.truth, err = picture.Fit(p, oh, ow, f.fit())
			if size := (*picture.SizeError)(nil); errors.As(err, &size) {
				err = fmt.Errorf("%s is %d×%d, a measurement of task %s is %d×%d with this prior: leave out --measured where it is the picture to degrade, else --resize or --crop scale it",
					size.Name, size.W, size.H, f.task, ow, oh)
			}
			one.y = masked(one.truth.Pix, one.keep)
		} else if one.truth, err = picture.Fit(p, h, w, f.fit()); err == nil {
			one.y, err = f.measure(m, one)
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// operator makes a subject's operator: random parts depend on the seed and its
// number alone.
func (f *restoreFlags) operator(m prior.Model, s subject) (one *measured, err error) {
	one = &measured{subject: s, build: f.build}
	if err = one.settle(m); err == nil && one.op != nil {
		one.keep, err = measure.MeasuredPixels(m.Device(), one.op)
	}
	return one, err
}

// build makes the operator on a prior's device.
func (f *restoreFlags) build(m prior.Model, one *measured) (err error) {
	c, h, w := m.Image()
	switch f.task {
	case "phase":
		one.nonlinear, err = measure.NewPhaseRetrieval(m.Device(), c, h, w, 2)
	case "mask":
		var keep []float32
		if keep, err = picture.OpenMask(f.mask, h, w); err == nil {
			one.op, err = measure.NewMask(m.Device(), c, h, w, keep)
		}
	case "kernel":
		border, ok := map[string]compute.Border{"reflect": compute.Reflect, "circular": compute.Circular}[f.border]
		if !ok {
			return fmt.Errorf("unknown border %q: reflect or circular", f.border)
		}
		var kernel measure.Kernel
		if kernel, err = readKernel(f.kernel); err == nil {
			one.op, err = measure.NewBlur(m.Device(), c, h, w, kernel, border)
		}
	default:
		one.op, err = operatorFor(m, one.subject, f.seed)
	}
	return err
}

// measure simulates the measurement of a subject's truth.
func (f *restoreFlags) measure(m prior.Model, one *measured) ([]float32, error) {
	if f.noise == "poisson" {
		rng := diffusion.Stream{Seed: f.seed, Image: one.number, Purpose: diffusion.Measurement}.Rand()
		return measure.PoissonMeasure(m.Device(), one.op, one.truth.Pix, f.rate, rng)
	}
	return sdk.Measure(m.Device(), one.forward(), one.truth.Pix, f.sigmaY, f.seed, []uint64{one.number})
}

// masked is y with what is not measured set to zero.
func masked(y, keep []float32) []float32 {
	out := slices.Clone(y)
	for i := range out {
		if keep != nil {
			out[i] *= keep[i%len(keep)]
		}
	}
	return out
}
