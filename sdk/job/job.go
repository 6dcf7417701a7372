package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Image is a picture to degrade and restore, a measurement to restore, or a result.
type Image struct {
	C, H, W int
	Pix     []float32 // C·H·W values, row-major, on [−1, 1]; empty for a job that draws from the prior
	Name    string    // for messages; may be empty
	Number  uint64    // keys the operator, the measurement noise and the sampler's noise; below 2³²
	Sample  int       // further samples of a measurement, from 0, differ in the sampler's noise alone

	// What the operator is made from; tasks that draw it do so where it is nil.
	Mask   []float32       // H·W of the restored image: 1 known, 0 missing
	Kernel *measure.Kernel // of a blur
	Matrix *measure.Matrix // of task matrix
}

// Measurement is what was measured of an image.
type Measurement struct {
	C, H, W int
	Y       []float32 // C·H·W values, 0 where nothing is measured
	Known   []float32 // H·W values, 1 where a pixel is measured and 0 elsewhere; nil where all are
	// Inputs are what the operator was made from, with what was drawn.
	Inputs measure.Inputs
}

// Job is a restoration of a batch of images, sampled together. An image does not depend
// on the batch that it is in.
type Job struct {
	Spec         Spec
	Options      sdk.Options // OnStep and Preview are the caller's to set
	Images       []Image
	Measurements []Measurement // of the images; nil without a task
	Plan         sdk.Plan
	// Prior makes the model that [New] was given from the place's, where it is another one,
	// such as tiles of it. Run closes it. nil: the place's own.
	Prior func(prior.Model) (prior.Model, error)
}

// New validates a spec for a model, measures the images, and plans the run. It refuses a
// batch that the model's device can't hold.
func New(m prior.Model, s Spec, images ...Image) (*Job, error) {
	o, err := s.Options(m)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		o.Images = append(o.Images, image.Number|uint64(image.Sample)<<32)
	}
	j := &Job{Spec: s, Options: o, Images: images, Plan: sdk.NewPlan(m, o, len(images))}
	if err := j.Plan.Fits(); err != nil {
		return nil, err
	}
	if s.CMI.On && j.Plan.TermPasses == 0 {
		return nil, errors.New("the information term acts in no step: widen its window of alpha-bar or of steps, or leave it out")
	}
	operators, inputs, err := j.operators(m)
	if err != nil {
		return nil, err
	}
	defer release(operators)
	if err := j.measure(m, operators, inputs); err != nil {
		return nil, err
	}
	p, err := j.problem(m, operators)
	if err != nil {
		return nil, err
	}
	return j, p.Validate(j.Options)
}

// operators makes the operators of the images on the model's device, one for all unless
// they have inputs of their own; none without a task. inputs are what they are made from.
func (j *Job) operators(m prior.Model) (all []measure.Operator, inputs []measure.Inputs, err error) {
	if j.Spec.Task == "" {
		return nil, nil, nil
	}
	task, err := measure.FindTask(j.Spec.Task)
	if err != nil {
		return nil, nil, err
	}
	for _, image := range j.Images {
		same := task.Input == "" || image.Matrix != nil && image.Matrix == j.Images[0].Matrix
		if same && len(all) == 1 {
			continue
		}
		op, in, err := j.Spec.operator(m, image)
		if err != nil {
			release(all)
			return nil, nil, err
		}
		all, inputs = append(all, op), append(inputs, in)
	}
	return all, inputs, nil
}

func release(operators []measure.Operator) {
	for _, op := range operators {
		op.Close()
	}
}

// measure measures the images.
func (j *Job) measure(m prior.Model, operators []measure.Operator, inputs []measure.Inputs) error {
	if len(operators) == 0 {
		return nil
	}
	c, h, w := j.Spec.shape(operators[0])
	for i, image := range j.Images {
		if image.H != h || image.W != w {
			what := "the model restores pictures"
			if j.Spec.Measured {
				what = fmt.Sprintf("a measurement of task %s is", j.Spec.Task)
			}
			return fmt.Errorf("the picture %sis %d×%d pixels, %s of %d×%d: scale or crop it first", spaced(image.Name), image.W, image.H, what, w, h)
		}
		if image.C != c || len(image.Pix) != c*h*w {
			return fmt.Errorf("the picture %shas %d channels and %d values, %d channels of %d×%d are wanted", spaced(image.Name), image.C, len(image.Pix), c, w, h)
		}
		one, err := j.Spec.measurement(m, operators[i%len(operators)], image)
		if err != nil {
			return err
		}
		one.Inputs = inputs[i%len(inputs)]
		j.Measurements = append(j.Measurements, one)
	}
	if dps, ok := j.Options.Method.(guide.DPS); ok && j.Spec.Noise == "poisson" {
		for _, one := range j.Measurements {
			dps.Weights = append(dps.Weights, measure.PoissonWeight(one.Y))
		}
		j.Options.Method = dps
	}
	return nil
}

// spaced returns a name and a space, or nothing.
func spaced(name string) string {
	if name == "" {
		return ""
	}
	return name + " "
}

// measurement measures an image. The noise depends on the seed and the image's number.
func (s Spec) measurement(m prior.Model, op measure.Operator, image Image) (one Measurement, err error) {
	one.C, one.H, one.W = op.Out()
	if one.Known, err = measure.MeasuredPixels(m.Device(), op); err != nil {
		return one, err
	}
	switch a, linear := op.(measure.Linear); {
	case s.Measured:
		one.Y = make([]float32, len(image.Pix))
		for i, v := range image.Pix {
			if one.Known == nil || one.Known[i%len(one.Known)] != 0 {
				one.Y[i] = v
			}
		}
	case s.Noise == "poisson" && !linear:
		err = wrong("noise", "is poisson, which task %s can't have: it is not linear", s.Task)
	case s.Noise == "poisson":
		rng := diffusion.Stream{Seed: s.Seed, Image: image.Number, Purpose: diffusion.Measurement}.Rand()
		one.Y, err = measure.PoissonMeasure(m.Device(), a, image.Pix, s.Rate, rng)
	default:
		one.Y, err = sdk.Measure(m.Device(), op, image.Pix, s.SigmaY, s.Seed, []uint64{image.Number})
	}
	return one, err
}

// Problem makes what the sampler is to solve on a model's device; free frees its
// operator.
func (j *Job) Problem(m prior.Model) (p sdk.Problem, free func(), err error) {
	operators, _, err := j.operators(m)
	if err != nil {
		return p, nil, err
	}
	p, err = j.problem(m, operators)
	return p, func() { release(operators) }, err
}

// problem returns that of the images' operators.
func (j *Job) problem(m prior.Model, operators []measure.Operator) (p sdk.Problem, err error) {
	p = sdk.Problem{Prior: m, N: len(j.Images)}
	if len(operators) == 0 {
		return p, nil
	}
	p.SigmaY = j.Spec.SigmaY
	for _, one := range j.Measurements {
		p.Y = append(p.Y, one.Y...)
	}
	if p.Operator = operators[0]; len(operators) > 1 {
		p.Operator, err = measure.NewPerImage(operators...)
	}
	return p, err
}

// Run restores the images at a place, see [sdk.Place.Restore].
func (j *Job) Run(ctx context.Context, place *sdk.Place) ([]Image, error) {
	var c, h, w int
	x, err := place.Restore(ctx, func(m prior.Model) (p sdk.Problem, release func(), err error) {
		made := func() {}
		if j.Prior != nil {
			if m, err = j.Prior(m); err != nil {
				return p, nil, err
			}
			made = m.Close
		}
		c, h, w = m.Image()
		p, free, err := j.Problem(m)
		return p, func() {
			if free != nil {
				free()
			}
			made()
		}, err
	}, j.Options)
	if err != nil {
		if name := j.Name(); name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return nil, err
	}
	restored := make([]Image, len(j.Images))
	for i, image := range j.Images {
		restored[i] = image
		restored[i].C, restored[i].H, restored[i].W = c, h, w
		restored[i].Pix = x[i*c*h*w : (i+1)*c*h*w]
	}
	return restored, nil
}

// Name is for people: the first image's, and how many more there are.
func (j *Job) Name() string {
	if len(j.Images) > 1 {
		return fmt.Sprintf("%s and %d more", j.Images[0].Name, len(j.Images)-1)
	}
	return j.Images[0].Name
}
