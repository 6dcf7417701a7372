package experiment

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Perceptual is a learned distance between pictures, such as lpips.Metric.
type Perceptual interface {
	Name() string
	Distance(x, y []float32, n, c, h, w int) ([]float64, error)
}

// Runner runs the jobs of a folder's grid.
type Runner struct {
	Place      *sdk.Place                             // where to run; when its device is lost, work goes on on its next one
	More       []*sdk.Place                           // further places of the same prior that share the work; results don't depend on them
	Truth      func(image int) (picture.Image, error) // of the prior's size
	Options    func(Cell) (sdk.Options, error)        // how to sample a cell; Seed, Images and OnStep are the runner's
	Seed       uint64
	SigmaY     float64 // standard deviation of the measurement noise, images on [−1, 1]
	Perceptual Perceptual
	OnStep     func(Job, sdk.Progress) // may be nil; with More, called by several goroutines
	OnDone     func(Job)               // may be nil
}

// Run runs what is not yet finished. When ctx ends it stops within one step, with
// ctx's error; the folder keeps every finished job.
//
// The operator and the noise of a measurement depend on the seed and the picture's
// place, x_T and all noise of the sampler on the seed, the place and the sample: all
// cells of a picture have the same, so that they can be compared in pairs.
func (r *Runner) Run(ctx context.Context, f *Folder) error {
	if len(r.More) > 0 {
		return r.runShared(ctx, f)
	}
	var now *problem
	defer func() { r.release(now) }()
	for k := f.done; k < f.grid.Len(); k++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		job := f.grid.Job(k)
		if now == nil || now.task != job.Task || now.image != job.Image {
			r.release(now)
			now = nil
			if err := r.Place.Do(ctx, func(m prior.Model) (err error) {
				now, err = r.problem(m, f, job)
				return err
			}); err != nil {
				return fmt.Errorf("%v: %w", job, err)
			}
		}
		s := r.sample(ctx, now, job)
		if s.err == nil {
			s.err = r.keep(f, s)
		}
		if s.err != nil {
			return fmt.Errorf("%v: %w", job, s.err)
		}
		if r.OnDone != nil {
			r.OnDone(job)
		}
	}
	return nil
}

// problem is a picture degraded for a task.
type problem struct {
	task  string
	image int
	truth picture.Image // as it stands in the folder, on [−1, 1]
	home  prior.Model   // on whose device the operator is
	op    measure.Operator
	y     []float32
}

// release closes a problem's operator, if its device is still there.
func (r *Runner) release(p *problem) {
	if p != nil && p.home == r.Place.Prior() {
		p.op.Close()
	}
}

// settle makes the operator on a prior's device, if it is not there.
func (r *Runner) settle(p *problem, m prior.Model) (err error) {
	if p.home == m {
		return nil
	}
	c, h, w := m.Image()
	rng := diffusion.Stream{Seed: r.Seed, Image: uint64(p.image), Purpose: diffusion.Degradation}.Rand()
	if p.op, err = measure.ForTask(p.task, m.Device(), c, h, w, rng); err == nil {
		p.home = m
	}
	return err
}

// problem degrades a picture, and writes it and its measurement.
func (r *Runner) problem(m prior.Model, f *Folder, j Job) (p *problem, err error) {
	truth, err := r.Truth(j.Image)
	if err != nil {
		return nil, err
	}
	if truth, err = f.savePicture(truthPath(j.Name), truth, nil); err != nil {
		return nil, err
	}
	p = &problem{task: j.Task, image: j.Image, truth: truth}
	if err := r.settle(p, m); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.op.Close()
			p = nil
		}
	}()
	if p.y, err = sdk.Measure(m.Device(), p.op, truth.Pix, r.SigmaY, r.Seed, []uint64{uint64(j.Image)}); err != nil {
		return nil, err
	}
	keep, err := measure.MeasuredPixels(m.Device(), p.op)
	if err != nil {
		return nil, err
	}
	oc, oh, ow := p.op.Out()
	_, err = f.savePicture(measurementPath(j.Task, j.Name), picture.Image{C: oc, H: oh, W: ow, Pix: p.y}, keep)
	return p, err
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

// sample runs the sampler for one job.
func (r *Runner) sample(ctx context.Context, p *problem, j Job) sampled {
	o, err := r.Options(j.Cell)
	if err != nil {
		return sampled{job: j, err: err}
	}
	result := &Result{Cell: j.Cell, Image: j.Name, Sample: j.Sample, LPIPSName: r.Perceptual.Name()}
	// Samples of one picture differ in the upper half of the number that keys their noise.
	o.Seed, o.Images = r.Seed, []uint64{uint64(j.Image) | uint64(j.Sample-1)<<32}
	o.OnStep = func(s sdk.Progress) {
		result.add(s, o.CMI != nil)
		if r.OnStep != nil {
			r.OnStep(j, s)
		}
	}
	start := time.Now()
	x, err := r.Place.Restore(ctx, func(m prior.Model) (sdk.Problem, func(), error) {
		err := r.settle(p, m)
		return sdk.Problem{Prior: m, Operator: p.op, Y: p.y, N: 1, SigmaY: r.SigmaY}, func() {}, err
	}, o)
	return sampled{j, p.truth, result, x, time.Since(start).Seconds(), err}
}

// keep puts a job's picture and its line into the folder.
func (r *Runner) keep(f *Folder, s sampled) error {
	j, restored := s.job, s.truth
	restored.Pix = s.x
	restored, err := f.savePicture(j.picturePath(), restored, nil)
	if err != nil {
		return err
	}
	if err := r.judge(s.result, restored, s.truth); err != nil {
		return err
	}
	if j.Sample > 1 {
		first := j
		first.Sample = 1
		other, err := picture.Open(f.path(first.picturePath()))
		if err != nil {
			return err
		}
		var apart Result
		if err := r.judge(&apart, restored, other); err != nil {
			return err
		}
		s.result.Apart = &Apart{apart.MSE, apart.LPIPS}
	}
	return f.add(s.result, s.seconds)
}

// add takes a step's progress.
func (r *Result) add(s sdk.Progress, withCMI bool) {
	r.Passes, r.Limited = s.Passes, r.Limited+s.Limited
	r.Residual = append(r.Residual, s.Residual[0])
	switch {
	case s.Information != nil:
		r.Information = append(r.Information, s.Information[0])
	case withCMI:
		r.Information = append(r.Information, math.NaN())
	}
}

// judge measures a picture against another.
func (r *Runner) judge(result *Result, x, y picture.Image) error {
	a, b := metric.Unit(x.Pix), metric.Unit(y.Pix)
	for _, m := range []struct {
		of metric.Distance
		to *float64
	}{{metric.SquaredError[float32], &result.MSE}, {metric.SSIM[float32], &result.SSIM}, {r.Perceptual.Distance, &result.LPIPS}} {
		values, err := m.of(a, b, 1, x.C, x.H, x.W)
		if err != nil {
			return err
		}
		*m.to = values[0]
	}
	psnr, err := metric.PSNR(a, b, 1, x.C, x.H, x.W)
	if err == nil && !math.IsInf(psnr[0], 0) {
		result.PSNR = &psnr[0]
	}
	return err
}
