package job

import (
	"errors"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/tiles"
)

// Windows say how many windows [Spec.Tiles] computes together.
type Windows struct {
	// AtOnce is their number; 0 takes as many as fit into memory.
	AtOnce int
	// ValuesAtOnce bounds the number where no derivative needs the windows' activations; 0 is 64,
	// enough to keep a GPU busy.
	ValuesAtOnce int
	// Memory is how many bytes of device memory a run may take, with what base holds for its
	// activations now; 0 is what the device has.
	Memory int64
}

// Tiles returns the prior that covers batches of images of height×width by windows of base. Close
// it; base stays the caller's. Where even one window at once does not fit into memory, it is
// returned all the same, and [New] refuses the run.
func (s Spec) Tiles(base prior.Model, height, width, images int, w Windows) (prior.Model, error) {
	_, bh, bw := base.Image()
	o := tiles.Options{Seed: s.Seed, AtOnce: w.AtOnce}
	for {
		m, err := tiles.New(base, height, width, o)
		if err != nil || w.AtOnce > 0 || bh == height && bw == width {
			return m, err
		}
		settings, err := s.Options(m)
		if err != nil {
			return nil, err
		}
		if o.AtOnce == 0 && sdk.NewPlan(m, settings, images).TakesValuesOnly() {
			if o.AtOnce = w.ValuesAtOnce; o.AtOnce == 0 {
				o.AtOnce = 64
			}
			if m, err = tiles.New(base, height, width, o); err != nil {
				return nil, err
			}
		}
		plan := sdk.NewPlan(m, settings, images)
		full := errors.Is(plan.Fits(), compute.ErrMemory) || w.Memory > 0 && plan.Memory+Held(base) > w.Memory
		if !full || o.AtOnce == 1 {
			return m, nil
		}
		if o.AtOnce == 0 {
			o.AtOnce = m.Windows() * images
		}
		o.AtOnce = (o.AtOnce + 1) / 2
	}
}

// Held returns the bytes of device memory that a model's activations take now, which
// [sdk.Plan].Memory does not count; 0 where the model can't tell.
func Held(m prior.Model) int64 {
	if net, ok := m.(interface{ Memory() int64 }); ok {
		return net.Memory()
	}
	return 0
}

// Reduction returns by which factor the task's measurements are smaller than the images they are
// of, and how many channels a job's pictures have. Where measurements are no pictures the factor
// is 1.
func (s Spec) Reduction(base prior.Model) (factor, channels int, err error) {
	c, h, _ := base.Image()
	task, err := measure.FindTask(s.Task)
	if err != nil || task.Input != "" {
		return 1, c, err
	}
	measured := s
	measured.Measured = true
	of, mh, _, err := measured.Shape(base, Image{})
	switch {
	case err != nil && s.Measured:
		return 1, c, err
	case err != nil || h%mh != 0: // the measurement is no picture
		return 1, c, nil
	case s.Measured:
		return h / mh, of, nil
	}
	return h / mh, c, nil
}

// Reflect extends planes of height×width to at least that size by reflection about the last row
// and column, over and over where that is not enough.
func Reflect(pix []float32, planes, height, width, toHeight, toWidth int) []float32 {
	if height == toHeight && width == toWidth {
		return pix
	}
	at := func(i, length int) int {
		if length == 1 {
			return 0
		}
		i %= 2 * (length - 1)
		return min(i, 2*(length-1)-i)
	}
	out := make([]float32, 0, planes*toHeight*toWidth)
	for c := range planes {
		for y := range toHeight {
			row := pix[(c*height+at(y, height))*width:][:width]
			for x := range toWidth {
				out = append(out, row[at(x, width)])
			}
		}
	}
	return out
}

// Crop returns the first toHeight rows and toWidth columns of planes of height×width: what
// [Reflect] extended.
func Crop[T any](pix []T, planes, height, width, toHeight, toWidth int) []T {
	if height == toHeight && width == toWidth {
		return pix
	}
	out := make([]T, 0, planes*toHeight*toWidth)
	for c := range planes {
		for y := range toHeight {
			out = append(out, pix[(c*height+y)*width:][:toWidth]...)
		}
	}
	return out
}
