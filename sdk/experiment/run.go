package experiment

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/job"
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
	Spec       job.Spec                               // how to restore; Task, Method and CMI.On are the cells'
	SpecOf     func(Cell) job.Spec                    // how to restore a cell; nil is [Cell.Spec] of Spec
	Batch      int                                    // how many pictures are sampled together; below 2 each by itself. Results don't depend on it
	Perceptual Perceptual
	OnStep     func(Job, sdk.Progress) // may be nil; with More, called by several goroutines
	OnDone     func(Job)               // may be nil
	Checkpoint int                     // of [Runner.RunShard]: steps between two checkpoints of a job; 0 keeps states only where a run is stopped
	OnEvent    func(Event)             // of [Runner.RunShard]; may be nil, and is called by several goroutines
}

func (r *Runner) spec(c Cell) job.Spec {
	if r.SpecOf != nil {
		return r.SpecOf(c)
	}
	return c.Spec(r.Spec)
}

// Run runs what is not yet finished. When ctx ends it stops within one step, with
// ctx's error; the folder keeps every finished job that has none unfinished before it
// in the grid's order.
//
// The operator and the noise of a measurement depend on the seed and the picture's
// place, x_T and all noise of the sampler on the seed, the place and the sample: all
// cells of a picture have the same, so that they can be compared in pairs.
func (r *Runner) Run(ctx context.Context, f *Folder) error {
	for _, j := range f.redraw {
		if _, err := r.measure(ctx, f, &sampled{jobs: []Job{j}}); err != nil {
			return fmt.Errorf("%v: %w", j, err)
		}
	}
	f.redraw = nil
	if err := r.store(f, sampled{}, f.intact); err != nil { // what stands after a damaged line that was no result's
		return err
	}
	if len(r.More) > 0 {
		return r.runShared(ctx, f)
	}
	ahead := f.intact
	for _, jobs := range f.pending(r.Batch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.store(f, r.sample(ctx, f, jobs), ahead); err != nil {
			return err
		}
	}
	return nil
}

// sampled are jobs of one cell whose pictures are drawn and not yet in the folder.
type sampled struct {
	jobs    []Job
	truths  []picture.Image
	results []*Result
	images  []job.Image
	seconds float64 // of each
	err     error
}

// measure degrades the pictures of one cell's jobs and writes them and their measurements.
func (r *Runner) measure(ctx context.Context, f layout, s *sampled) (work *job.Job, err error) {
	var images []job.Image
	for _, j := range s.jobs {
		truth, err := r.Truth(j.Image)
		if err == nil {
			truth, err = savePicture(f.truth(j), truth, nil)
		}
		if err != nil {
			return nil, err
		}
		s.truths = append(s.truths, truth)
		images = append(images, job.Image{C: truth.C, H: truth.H, W: truth.W, Pix: truth.Pix, Number: uint64(j.Image), Sample: j.Sample - 1})
	}
	if err := r.Place.Do(ctx, func(m prior.Model) (err error) {
		work, err = job.New(m, r.spec(s.jobs[0].Cell), images...)
		return err
	}); err != nil {
		return nil, err
	}
	for i, y := range work.Measurements {
		if _, err := savePicture(f.measurement(s.jobs[i]), picture.Image{C: y.C, H: y.H, W: y.W, Pix: y.Y}, y.Known); err != nil {
			return nil, err
		}
	}
	return work, nil
}

// sample measures the pictures of one cell's jobs and runs the sampler.
func (r *Runner) sample(ctx context.Context, f *Folder, jobs []Job) (s sampled) {
	s.jobs = jobs
	work, err := r.prepare(ctx, f, &s)
	if err != nil {
		s.err = err
		return s
	}
	work.Options.OnStep = func(all sdk.Progress) { r.observe(&s, all) }
	start := time.Now()
	s.images, s.err = work.Run(ctx, r.Place)
	s.seconds = time.Since(start).Seconds() / float64(len(jobs))
	return s
}

// prepare measures the pictures of one cell's jobs and begins their results.
func (r *Runner) prepare(ctx context.Context, f layout, s *sampled) (*job.Job, error) {
	work, err := r.measure(ctx, f, s)
	if err != nil {
		return nil, err
	}
	for _, j := range s.jobs {
		one := &Result{Cell: j.Cell, Image: j.Name, Sample: j.Sample, LPIPSName: r.Perceptual.Name()}
		if one.Truth, err = HashFile(f.truth(j)); err != nil {
			return nil, err
		}
		if one.Measurement, err = HashFile(f.measurement(j)); err != nil {
			return nil, err
		}
		s.results = append(s.results, one)
	}
	return work, nil
}

// observe adds a step's progress to the results.
func (r *Runner) observe(s *sampled, all sdk.Progress) {
	for i, j := range s.jobs {
		one := all.Of(i)
		s.results[i].add(one, j.CMI != Without)
		if r.OnStep != nil {
			r.OnStep(j, one)
		}
	}
}

// store writes the pictures of jobs into the folder, and the lines of finished jobs in the
// grid's order: ahead holds those that wait for the ones before them.
func (r *Runner) store(f *Folder, s sampled, ahead map[Job]*Result) error {
	if err := f.there(); err != nil {
		return err
	}
	for i, j := range s.jobs {
		if s.err == nil {
			restored := s.truths[i]
			restored.Pix = s.images[i].Pix
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
func (r *Runner) finish(f layout, j Job, restored, truth picture.Image, result *Result) error {
	restored, err := savePicture(f.restored(j), restored, nil)
	if err != nil {
		return err
	}
	if result.Picture, err = HashFile(f.restored(j)); err != nil {
		return err
	}
	if err := r.judge(result, restored, truth); err != nil || j.Sample == 1 {
		return err
	}
	first := j
	first.Sample = 1
	other, err := picture.Open(f.restored(first))
	if err != nil {
		return err
	}
	var apart Result
	err = r.judge(&apart, restored, other)
	result.Apart = &Apart{apart.MSE, apart.LPIPS}
	return err
}

// add appends the progress of a step.
func (r *Result) add(s sdk.Progress, withCMI bool) {
	r.Passes = s.Passes
	r.Residual = append(r.Residual, s.Residual[0])
	switch {
	case s.Information != nil:
		r.Information = append(r.Information, s.Information[0])
		if s.Limited[0] {
			r.Limited++
		}
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
