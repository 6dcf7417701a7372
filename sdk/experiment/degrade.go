package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// problem is pictures degraded for a task.
type problem struct {
	task   string
	images []int
	truths []picture.Image // as they stand in the folder, on [−1, 1]
	home   prior.Model     // on whose device the operator is
	op     measure.Operator
	y      []float32
}

// is says whether jobs are of this problem.
func (p *problem) is(jobs []Job) bool {
	return p != nil && p.task == jobs[0].Task && slices.EqualFunc(p.images, jobs, func(image int, j Job) bool { return image == j.Image })
}

// release closes a problem's operator, if its device is still there.
func (r *Runner) release(p *problem) {
	if p != nil && p.home == r.Place.Prior() {
		p.op.Close()
	}
}

// settle makes the operator on a prior's device, if it is not there.
func (r *Runner) settle(p *problem, m prior.Model) error {
	if p.home == m {
		return nil
	}
	each := make([]measure.Operator, 0, len(p.images))
	for _, image := range p.images {
		op, err := r.operator(m, p.task, image)
		if err != nil {
			for _, made := range each {
				made.Close()
			}
			return err
		}
		each = append(each, op)
	}
	p.op = each[0]
	if len(each) > 1 {
		var err error
		if p.op, err = measure.NewPerImage(each...); err != nil {
			return err
		}
	}
	p.home = m
	return nil
}

// operator is that of a picture's task.
func (r *Runner) operator(m prior.Model, task string, image int) (measure.Operator, error) {
	c, h, w := m.Image()
	rng := diffusion.Stream{Seed: r.Seed, Image: uint64(image), Purpose: diffusion.Degradation}.Rand()
	return measure.ForTask(task, m.Device(), c, h, w, rng)
}

// problem degrades the jobs' pictures, and writes them and their measurements.
func (r *Runner) problem(m prior.Model, f *Folder, jobs []Job) (*problem, error) {
	p := &problem{task: jobs[0].Task}
	for _, j := range jobs {
		if err := r.degrade(m, f, p, j); err != nil {
			return nil, fmt.Errorf("%s: %w", j.Name, err)
		}
	}
	return p, r.settle(p, m)
}

// degrade adds a picture to a problem.
func (r *Runner) degrade(m prior.Model, f *Folder, p *problem, j Job) error {
	truth, err := r.Truth(j.Image)
	if err != nil {
		return err
	}
	if truth, err = f.savePicture(truthPath(j.Name), truth, nil); err != nil {
		return err
	}
	op, err := r.operator(m, j.Task, j.Image)
	if err != nil {
		return err
	}
	defer op.Close()
	y, err := sdk.Measure(m.Device(), op, truth.Pix, r.SigmaY, r.Seed, []uint64{uint64(j.Image)})
	if err != nil {
		return err
	}
	keep, err := measure.MeasuredPixels(m.Device(), op)
	if err != nil {
		return err
	}
	oc, oh, ow := op.Out()
	_, err = f.savePicture(measurementPath(j.Task, j.Name), picture.Image{C: oc, H: oh, W: ow, Pix: y}, keep)
	p.images, p.truths, p.y = append(p.images, j.Image), append(p.truths, truth), append(p.y, y...)
	return err
}

// light is what a pixel that was not measured is drawn as, on [−1, 1].
const light = 200/127.5 - 1

// savePicture writes a picture and returns what a reader of the file gets.
func (f *Folder) savePicture(name string, p picture.Image, keep []float32) (picture.Image, error) {
	if keep != nil {
		pix := make([]float32, len(p.Pix))
		for i, v := range p.Pix {
			if pix[i] = v; keep[i%len(keep)] == 0 {
				pix[i] = light
			}
		}
		p.Pix = pix
	}
	drawn, err := p.RGBA()
	if err != nil {
		return p, err
	}
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return p, err
	}
	return picture.From(drawn), picture.SavePNG(path, drawn)
}
