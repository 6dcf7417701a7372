package experiment

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/cmi-diffusion/cmi/sdk"
)

// runShared runs jobs on several places at once. A picture's runs for one task belong
// to one place, the next task's to the next; results are written in the grid's order, so
// that the folder's bytes are those of a run on one place.
func (r *Runner) runShared(ctx context.Context, f *Folder) error {
	places := append([]*sdk.Place{r.Place}, r.More...)
	work, order := make([][][]Job, len(places)), []int{}
	batches := f.pending(r.Batch)
	lane := -1
	for k, jobs := range batches {
		if k == 0 || jobs[0].Task != batches[k-1][0].Task || jobs[0].Image != batches[k-1][0].Image || len(jobs) != len(batches[k-1]) {
			lane = (lane + 1) % len(places)
		}
		work[lane], order = append(work[lane], jobs), append(order, lane)
	}
	lanes, ctx := errgroup.WithContext(ctx)
	done := make([]chan sampled, len(places))
	for i, place := range places {
		done[i] = make(chan sampled, 2*f.grid.Len()/max(1, len(f.grid.Tasks)*len(f.grid.Names))) // two pictures' runs of a task
		one := *r
		one.Place = place
		lanes.Go(func() error {
			for _, jobs := range work[i] {
				select {
				case done[i] <- one.sample(ctx, f, jobs):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	lanes.Go(func() error {
		ahead := f.intact
		for _, i := range order {
			select {
			case s := <-done[i]:
				if err := r.store(f, s, ahead); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return lanes.Wait()
}
