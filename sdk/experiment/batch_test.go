package experiment

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
)

// From wherever a run goes on, each job that is left is in one batch, with others of
// its cell.
func TestBatchesHaveEachJobOnce(t *testing.T) {
	g := small
	g.Names = []string{"a", "b", "c", "d", "e"}
	cells := g.Len() / len(g.Names)
	for size := range 7 {
		for done := range g.Len() + 1 {
			seen, where := map[Job]bool{}, fmt.Sprintf("batches of %d from job %d", size, done)
			for _, batch := range g.batches(done, size) {
				require.LessOrEqual(t, len(batch), max(size, 1), where)
				for i, j := range batch {
					require.False(t, seen[j], "%s: %v", where, j)
					require.True(t, j.Cell == batch[0].Cell && j.Sample == batch[0].Sample && j.Image == batch[0].Image+i, where)
					seen[j] = true
				}
			}
			for k := range g.Len() {
				require.Equal(t, k >= done, seen[g.Job(k)], "%s: %v", where, g.Job(k))
			}
		}
		assert.Len(t, g.batches(0, size), cells*((4+max(size, 1))/max(size, 1)))
	}
	order := g.batches(3, 1)
	for k, batch := range order {
		assert.Equal(t, []Job{g.Job(3 + k)}, batch, "one picture at a time is the grid's order")
	}
}

// Batches, on one place or on several, leave the bytes of single pictures.
func TestBatch(t *testing.T) {
	r, whole := runner(t), t.TempDir()
	complete(t, r, whole)
	want := tree(t, whole)
	for _, places := range []int{1, 2} {
		for _, size := range []int{2, 5} {
			r.Batch = size
			if places > 1 && len(r.More) == 0 {
				r.More = append(r.More, sdk.PlaceOf(tiny(t)))
			}
			var done []Job
			r.OnDone = func(j Job) { done = append(done, j) }
			dir := t.TempDir()
			complete(t, r, dir)
			same(t, want, tree(t, dir))
			require.Len(t, done, small.Len())
			for k, j := range done {
				assert.Equal(t, small.Job(k), j)
			}
		}
	}
}

// A stop in the middle of a batch keeps what is finished before it in the grid's order.
func TestBatchCancel(t *testing.T) {
	r, dir, whole := runner(t), t.TempDir(), t.TempDir()
	complete(t, r, whole)
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	steps := map[Job]int{}
	r.Batch = 2
	r.OnStep = func(j Job, p sdk.Progress) {
		assert.Len(t, p.Residual, 1)
		if steps[j]++; len(steps) == 14 { // the seventh cell of both pictures
			cancel()
		}
	}
	require.ErrorIs(t, r.Run(ctx, f), context.Canceled)
	assert.Equal(t, 6, f.Done(), "of the first picture")
	require.NoError(t, f.Close())
	r.OnStep = nil
	complete(t, r, dir)
	same(t, tree(t, whole), tree(t, dir))
}
