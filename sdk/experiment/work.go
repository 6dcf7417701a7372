package experiment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cmi-diffusion/cmi/sdk"
)

// Event is something that befell a job of a shard.
type Event struct {
	Kind string // "begin", "resume", "checkpoint", "finish", "lost", "stop", "damaged"
	Job  Job
	Step int // steps done so far, where the kind has one
	// Passes are the network passes of these steps, of "resume".
	Passes int
	Text   string // of what is damaged
}

// queue deals out the jobs of a part to the places of a process.
type queue struct {
	f    *ShardFolder
	part Part

	lock     sync.Mutex
	finished []bool
	left     int
	at       int // where to look next
}

func (f *ShardFolder) queue(p Part) *queue {
	n := f.run.Grid.partLen(p)
	return &queue{f: f, part: p, finished: make([]bool, n), left: n}
}

// check notes whether a job is finished.
func (q *queue) check(k int) (bool, error) {
	if q.finished[k] {
		return true, nil
	}
	done, err := q.f.finished(q.f.run.Grid.partJob(q.part, k))
	if done {
		q.finished[k] = true
		q.left--
	}
	return done, err
}

// next claims up to size jobs of one cell. None where all are finished, which left = 0 says, or
// the rest is with other processes.
func (q *queue) next(size int) (jobs []Job, claims []*claim, left int, err error) {
	q.lock.Lock()
	defer q.lock.Unlock()
	g := q.f.run.Grid
	n := len(q.finished)
	for i := range n {
		k := (q.at + i) % n
		if q.finished[k] { // saves making the job
			continue
		}
		j := g.partJob(q.part, k)
		if len(jobs) > 0 && (j.Cell != jobs[0].Cell || j.Sample != jobs[0].Sample) {
			continue
		}
		done, err := q.check(k)
		if err != nil {
			return jobs, claims, q.left, err
		}
		if done {
			continue
		}
		if j.Sample > 1 { // is compared with the one before
			if before, err := q.check(k - 1); err != nil || !before {
				if err != nil {
					return jobs, claims, q.left, err
				}
				continue
			}
		}
		if err := os.MkdirAll(imageDir(q.f.dir, j.Image), 0o777); err != nil {
			return jobs, claims, q.left, err
		}
		c, err := q.f.claim(j)
		if err != nil {
			return jobs, claims, q.left, err
		}
		if c == nil {
			continue
		}
		if len(jobs) == 0 {
			q.at = k
		}
		if jobs, claims = append(jobs, j), append(claims, c); len(jobs) == size {
			break
		}
	}
	return jobs, claims, q.left, nil
}

// do has work done by several lanes until all jobs of a part are finished, by this process or by
// others. work does the jobs that it is given, whose claims are renewed meanwhile, puts their
// results, and returns early when ctx ends.
func (f *ShardFolder) do(ctx context.Context, p Part, size, lanes int, work func(ctx context.Context, lane int, jobs []Job) error) error {
	if err := p.Validate(); err != nil {
		return err
	}
	q := f.queue(p)
	all, ctx := errgroup.WithContext(ctx)
	for lane := range lanes {
		all.Go(func() error {
			for {
				if err := ctx.Err(); err != nil {
					return err
				}
				jobs, claims, left, err := q.next(max(1, size))
				if err == nil && len(jobs) > 0 {
					err = f.under(ctx, jobs, claims, func(ctx context.Context) error { return work(ctx, lane, jobs) })
				} else {
					for _, c := range claims {
						err = errors.Join(err, f.release(c))
					}
				}
				if err != nil || left == 0 {
					return err
				}
				if len(jobs) > 0 {
					continue
				}
				select {
				case <-ctx.Done():
				case <-time.After(f.lease / 4):
				}
			}
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return f.sweep(p)
}

// under does jobs under their claims. A claim that is lost is no error: its job is another's.
func (f *ShardFolder) under(ctx context.Context, jobs []Job, claims []*claim, work func(context.Context) error) error {
	kept, stop := f.keep(ctx, claims)
	err := work(kept)
	lost := errors.Is(context.Cause(kept), errLost)
	cause := context.Cause(kept)
	stop()
	if err != nil && ctx.Err() == nil && cause != nil {
		if err = cause; lost {
			err = nil
		}
	}
	for i, j := range jobs {
		done, e := f.finished(j)
		switch {
		case e != nil:
		case done:
			e = f.done(j, claims[i])
		default:
			e = f.release(claims[i])
		}
		err = errors.Join(err, e)
	}
	return err
}

// RunShard does a part of the grid together with other processes, at all of the runner's places,
// and returns when every job of the part is finished, whoever did it. When ctx ends it stops
// within one step with ctx's error, keeps the state of the jobs in hand and gives them up, so that
// another process can go on at once.
func (r *Runner) RunShard(ctx context.Context, f *ShardFolder, p Part) error {
	places := append([]*sdk.Place{r.Place}, r.More...)
	return f.do(ctx, p, r.Batch, len(places), func(ctx context.Context, lane int, jobs []Job) error {
		one := *r
		one.Place = places[lane]
		return one.claimed(ctx, f, jobs)
	})
}

// claimed does jobs of one cell, each from its last state.
func (r *Runner) claimed(ctx context.Context, f *ShardFolder, jobs []Job) error {
	c, h, w := r.Place.Prior().Image()
	states := make([]*jobState, len(jobs))
	for i, j := range jobs {
		var err error
		if states[i], err = f.state(j, c*h*w); err != nil {
			r.event(Event{Kind: "damaged", Job: j, Text: err.Error()})
		}
	}
	for _, group := range sameStep(states) {
		var some []Job
		var from []*jobState
		for _, i := range group {
			some, from = append(some, jobs[i]), append(from, states[i])
		}
		if err := r.resume(ctx, f, some, from); err != nil {
			return fmt.Errorf("%v: %w", some[0], err)
		}
	}
	return nil
}

// resume does jobs of one cell that go on from the same step.
func (r *Runner) resume(ctx context.Context, f *ShardFolder, jobs []Job, from []*jobState) error {
	s := &sampled{jobs: jobs}
	work, err := r.prepare(ctx, f, s)
	if err != nil {
		return err
	}
	size := len(s.truths[0].Pix)
	for i, state := range from {
		if now := s.results[i]; state != nil && (now.Truth != state.Result.Truth || now.Measurement != state.Result.Measurement || now.LPIPSName != state.Result.LPIPSName) {
			r.event(Event{Kind: "damaged", Job: jobs[i], Text: f.file(jobs[i], ".state") + " is of another measurement"})
			from = make([]*jobState, len(jobs))
			break
		}
	}
	saved, before := join(from, size), 0.0
	if from[0] != nil {
		for i, state := range from {
			s.results[i] = state.Result
			before = max(before, state.Seconds)
		}
	}
	for i, j := range jobs {
		kind := "begin"
		if from[i] != nil {
			kind = "resume"
		}
		r.event(Event{Kind: kind, Job: j, Step: len(s.results[i].Residual), Passes: saved.Passes})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start, steps := time.Now(), 0
	keep := func() error {
		s.seconds = before + time.Since(start).Seconds()/float64(len(jobs))
		for i, j := range jobs {
			state := jobState{Next: saved.Next, Passes: saved.Passes, Seconds: s.seconds, Result: s.results[i], X: split(saved.X, len(jobs), size, i)}
			if err := f.saveState(j, state); err != nil {
				return err
			}
			r.event(Event{Kind: "checkpoint", Job: j, Step: len(s.results[i].Residual)})
		}
		return nil
	}
	work.Options.Saved = saved
	work.Options.OnStep = func(all sdk.Progress) {
		r.observe(s, all)
		if steps++; r.Checkpoint > 0 && steps%r.Checkpoint == 0 && saved.Next >= 0 {
			if err := keep(); err != nil {
				cancel(err)
			}
		}
	}
	images, err := work.Run(ctx, r.Place)
	if err != nil {
		if steps > 0 && saved.Next >= 0 && !errors.Is(context.Cause(ctx), errLost) {
			if kept := keep(); kept != nil && context.Cause(ctx) != nil {
				err = errors.Join(err, kept)
			}
		}
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			return cause
		}
		return err
	}
	s.seconds = before + time.Since(start).Seconds()/float64(len(jobs))
	for i, j := range jobs {
		restored := s.truths[i]
		restored.Pix = images[i].Pix
		f.judging.Lock()
		err := r.finish(f, j, restored, s.truths[i], s.results[i])
		f.judging.Unlock()
		if err == nil {
			err = f.put(j, s.results[i], s.seconds)
		}
		if err != nil {
			return err
		}
		r.event(Event{Kind: "finish", Job: j, Step: len(s.results[i].Residual)})
		if r.OnDone != nil {
			r.OnDone(j)
		}
	}
	return nil
}

func (r *Runner) event(e Event) {
	if r.OnEvent != nil {
		r.OnEvent(e)
	}
}
