package experiment

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
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
	Batch      int     // how many pictures are sampled together; below 2 each by itself. Results don't depend on it
	SigmaY     float64 // standard deviation of the measurement noise, images on [−1, 1]
	Perceptual Perceptual
	OnStep     func(Job, sdk.Progress) // may be nil; with More, called by several goroutines
	OnDone     func(Job)               // may be nil
}

// Run runs what is not yet finished. When ctx ends it stops within one step, with
// ctx's error; the folder keeps every finished job that has none unfinished before it
// in the grid's order.
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
	ahead := map[Job]*Result{}
	for _, jobs := range f.grid.batches(f.done, r.Batch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := r.next(ctx, f, &now, jobs)
		if err := r.keep(f, s, ahead); err != nil {
			return err
		}
	}
	return nil
}

// next samples jobs, of the present problem or of one that takes its place.
func (r *Runner) next(ctx context.Context, f *Folder, now **problem, jobs []Job) sampled {
	if !(*now).is(jobs) {
		r.release(*now)
		*now = nil
		if err := r.Place.Do(ctx, func(m prior.Model) (err error) {
			*now, err = r.problem(m, f, jobs)
			return err
		}); err != nil {
			return sampled{jobs: jobs, err: err}
		}
	}
	return r.sample(ctx, *now, jobs)
}

// sampled are jobs of one cell whose pictures are drawn and not yet in the folder.
type sampled struct {
	jobs    []Job
	truths  []picture.Image
	results []*Result
	x       []float32
	seconds float64 // of each
	err     error
}

// sample runs the sampler for jobs of one cell.
func (r *Runner) sample(ctx context.Context, p *problem, jobs []Job) sampled {
	s := sampled{jobs: jobs, truths: p.truths}
	o, err := r.Options(jobs[0].Cell)
	if err != nil {
		s.err = err
		return s
	}
	o.Seed, o.Images = r.Seed, nil
	for _, j := range jobs {
		s.results = append(s.results, &Result{Cell: j.Cell, Image: j.Name, Sample: j.Sample, LPIPSName: r.Perceptual.Name()})
		// Samples of one picture differ in the upper half of the number that keys their noise.
		o.Images = append(o.Images, uint64(j.Image)|uint64(j.Sample-1)<<32)
	}
	o.OnStep = func(all sdk.Progress) {
		for i, j := range jobs {
			one := all.Of(i)
			s.results[i].add(one, o.CMI != nil)
			if r.OnStep != nil {
				r.OnStep(j, one)
			}
		}
	}
	start := time.Now()
	s.x, s.err = r.Place.Restore(ctx, func(m prior.Model) (sdk.Problem, func(), error) {
		err := r.settle(p, m)
		return sdk.Problem{Prior: m, Operator: p.op, Y: p.y, N: len(jobs), SigmaY: r.SigmaY}, func() {}, err
	}, o)
	s.seconds = time.Since(start).Seconds() / float64(len(jobs))
	return s
}

// keep puts jobs' pictures into the folder, and the lines of finished jobs as far as
// the grid's order allows; ahead holds those that wait for it.
func (r *Runner) keep(f *Folder, s sampled, ahead map[Job]*Result) error {
	for i, j := range s.jobs {
		if s.err == nil {
			size := len(s.x) / len(s.jobs)
			restored := s.truths[i]
			restored.Pix = s.x[i*size : (i+1)*size]
			s.err = r.finish(f, j, restored, s.truths[i], s.results[i])
		}
		if s.err != nil {
			if more := len(s.jobs) - 1; more > 0 {
				return fmt.Errorf("%v and %d more: %w", j, more, s.err)
			}
			return fmt.Errorf("%v: %w", j, s.err)
		}
		s.results[i].seconds = s.seconds
		ahead[j] = s.results[i]
	}
	for f.done < f.grid.Len() {
		next := f.grid.Job(f.done)
		result := ahead[next]
		if result == nil {
			return nil
		}
		if err := f.add(result); err != nil {
			return fmt.Errorf("%v: %w", next, err)
		}
		delete(ahead, next)
		if r.OnDone != nil {
			r.OnDone(next)
		}
	}
	return nil
}

// finish writes a job's picture and judges it.
func (r *Runner) finish(f *Folder, j Job, restored, truth picture.Image, result *Result) error {
	restored, err := f.savePicture(j.picturePath(), restored, nil)
	if err != nil {
		return err
	}
	if err := r.judge(result, restored, truth); err != nil || j.Sample == 1 {
		return err
	}
	first := j
	first.Sample = 1
	other, err := picture.Open(f.path(first.picturePath()))
	if err != nil {
		return err
	}
	var apart Result
	err = r.judge(&apart, restored, other)
	result.Apart = &Apart{apart.MSE, apart.LPIPS}
	return err
}

// add takes the progress of a step of this one's run.
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
