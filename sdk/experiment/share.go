package experiment

import (
	"context"
	"sync"

	"github.com/cmi-diffusion/cmi/sdk"
)

// runShared runs jobs on several places at once. A picture's runs for one task belong
// to one place, the next task's to the next; results are kept in the grid's order, so
// that the folder's bytes are those of a run on one place.
func (r *Runner) runShared(ctx context.Context, f *Folder) error {
	ctx, cancel := context.WithCancel(ctx)
	places := append([]*sdk.Place{r.Place}, r.More...)
	work, order := make([][][]Job, len(places)), []int{}
	batches := f.grid.batches(f.done, r.Batch)
	lane := -1
	for k, jobs := range batches {
		if k == 0 || jobs[0].Task != batches[k-1][0].Task || jobs[0].Image != batches[k-1][0].Image || len(jobs) != len(batches[k-1]) {
			lane = (lane + 1) % len(places)
		}
		work[lane], order = append(work[lane], jobs), append(order, lane)
	}
	buffer := 2 * f.grid.Len() / max(1, len(f.grid.Tasks)*len(f.grid.Names)) // two problems' runs
	done := make([]chan sampled, len(places))
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i, place := range places {
		done[i] = make(chan sampled, buffer)
		one := *r
		one.Place = place
		all.Go(func() {
			defer close(done[i])
			one.lane(ctx, f, work[i], done[i])
		})
	}
	ahead := map[Job]*Result{}
	for _, i := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, ok := <-done[i]
		if !ok {
			return ctx.Err()
		}
		if err := r.keep(f, s, ahead); err != nil {
			return err
		}
	}
	return nil
}

// lane samples at the runner's place until something fails.
func (r *Runner) lane(ctx context.Context, f *Folder, work [][]Job, done chan<- sampled) {
	for _, jobs := range work {
		s := sampled{jobs: jobs, err: ctx.Err()}
		if s.err == nil {
			s = r.sample(ctx, f, jobs)
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
