package experiment

import (
	"context"
	"fmt"
	"sync"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// sampled is a job whose picture is drawn and not yet in the folder.
type sampled struct {
	job     Job
	truth   picture.Image
	result  *Result
	x       []float32
	seconds float64
	err     error
}

// runShared runs jobs on several places at once. A picture's runs for one task belong
// to one place, the next task's to the next; results are kept in the grid's order, so
// that the folder's bytes are those of a run on one place.
func (r *Runner) runShared(ctx context.Context, f *Folder) error {
	ctx, cancel := context.WithCancel(ctx)
	places := append([]*sdk.Place{r.Place}, r.More...)
	work, order := make([][]Job, len(places)), []int{}
	lane := -1
	for k := f.done; k < f.grid.Len(); k++ {
		job := f.grid.Job(k)
		if before := k - 1; lane < 0 || f.grid.Job(before).Task != job.Task || f.grid.Job(before).Image != job.Image {
			lane = (lane + 1) % len(places)
		}
		work[lane], order = append(work[lane], job), append(order, lane)
	}
	ahead := 2 * f.grid.Len() / max(1, len(f.grid.Tasks)*len(f.grid.Names)) // two problems' runs
	done := make([]chan sampled, len(places))
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i, place := range places {
		done[i] = make(chan sampled, ahead)
		one := *r
		one.Place = place
		all.Go(func() {
			defer close(done[i])
			one.lane(ctx, f, work[i], done[i])
		})
	}
	for _, i := range order {
		s, ok := <-done[i]
		if !ok {
			return ctx.Err()
		}
		if s.err == nil {
			s.err = r.keep(f, s)
		}
		if s.err != nil {
			return fmt.Errorf("%v: %w", s.job, s.err)
		}
		if r.OnDone != nil {
			r.OnDone(s.job)
		}
	}
	return nil
}

// lane samples jobs at the runner's place until one fails.
func (r *Runner) lane(ctx context.Context, f *Folder, jobs []Job, done chan<- sampled) {
	var now *problem
	defer func() { r.release(now) }()
	for _, job := range jobs {
		s := sampled{job: job, err: ctx.Err()}
		if s.err == nil && (now == nil || now.task != job.Task || now.image != job.Image) {
			r.release(now)
			now = nil
			s.err = r.Place.Do(ctx, func(m prior.Model) (err error) {
				now, err = r.problem(m, f, job)
				return err
			})
		}
		if s.err == nil {
			s = r.sample(ctx, now, job)
		}
		select {
		case done <- s:
		default:
			select {
			case done <- s:
			case <-ctx.Done():
				return
			}
		}
		if s.err != nil {
			return
		}
	}
}
