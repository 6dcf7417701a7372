package golden

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// sigmaY is the measurement noise of the information and trajectory vectors, and
// steps the length of their schedule.
const (
	sigmaY = 0.05
	steps  = 20
)

// problem is what information/TASK and trajectories/TASK have in common: the
// trained network tiny16 and an operator.
type problem struct {
	model    *unet.Model
	operator measure.Linear
	schedule *diffusion.Schedule
}

func (p *problem) close() {
	if p.operator != nil {
		p.operator.Close()
	}
	if p.model != nil {
		p.model.Close()
	}
}

func newProblem(dir fs.FS, v *vectors, task string, dev compute.Device) (*problem, error) {
	p := &problem{}
	if err := p.open(dir, v, task, dev); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *problem) open(dir fs.FS, v *vectors, task string, dev compute.Device) (err error) {
	if p.model, err = loadNetwork(dir, "tiny16", dev); err != nil {
		return err
	}
	betas, err := diffusion.Linear(p.model.Steps())
	if err != nil {
		return err
	}
	if p.schedule, err = diffusion.New(betas, steps); err != nil {
		return err
	}
	p.operator, err = operatorOf(v, task, p.model, dev)
	return err
}

// operatorOf builds an operator from a task's name and the mask or kernel that the
// file holds. Blur is circular there.
func operatorOf(v *vectors, task string, m *unet.Model, dev compute.Device) (measure.Linear, error) {
	c, h, w := m.Image()
	switch {
	case strings.HasPrefix(task, "inpaint"):
		mask, err := v.values("mask")
		if err != nil {
			return nil, err
		}
		return measure.NewMask(dev, c, h, w, mask)
	case strings.HasPrefix(task, "sr"):
		factor := 0
		if _, err := fmt.Sscanf(task, "sr%d", &factor); err != nil {
			return nil, fmt.Errorf("%s: unknown task %s", v.name, task)
		}
		return measure.NewSuperResolution(dev, c, h, w, factor)
	case strings.HasPrefix(task, "blur"):
		kernel, err := v.kernel("kernel")
		if err != nil {
			return nil, err
		}
		return measure.NewBlur(dev, c, h, w, kernel, compute.Circular)
	}
	return nil, fmt.Errorf("%s: unknown task %s", v.name, task)
}
