package experiment

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Two and three places leave the bytes of one, from the beginning or from the middle.
func TestShared(t *testing.T) {
	r, whole := runner(t), t.TempDir()
	complete(t, r, whole)
	want := tree(t, whole)
	for range 2 {
		r.More = append(r.More, sdk.PlaceOf(tiny(t)))
		var lock sync.Mutex
		steps, done := map[Job]int{}, []Job{}
		r.OnStep = func(j Job, _ sdk.Progress) {
			lock.Lock()
			defer lock.Unlock()
			steps[j]++
		}
		r.OnDone = func(j Job) { done = append(done, j) }
		dir := t.TempDir()
		complete(t, r, dir)
		same(t, want, tree(t, dir))
		assert.Len(t, steps, small.Len())
		for k, j := range done {
			assert.Equal(t, small.Job(k), j)
		}

		dir = t.TempDir()
		f, err := Open(dir, settings, small)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done = nil
		r.OnDone = func(j Job) {
			if done = append(done, j); len(done) == 7 {
				cancel()
			}
		}
		require.ErrorIs(t, r.Run(ctx, f), context.Canceled)
		assert.GreaterOrEqual(t, f.Done(), 7)
		require.NoError(t, f.Close())
		r.OnDone = nil
		complete(t, r, dir)
		same(t, want, tree(t, dir))
	}
}

// What fails on one place ends the run; what comes before it is kept.
func TestSharedFails(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	r.More = []*sdk.Place{sdk.PlaceOf(tiny(t))}
	broken, truth := errors.New("broken"), r.Truth
	r.Truth = func(image int) (picture.Image, error) {
		if image == 1 {
			return picture.Image{}, broken
		}
		return truth(image)
	}
	f, err := Open(dir, settings, small)
	require.NoError(t, err)
	defer f.Close()
	require.ErrorIs(t, r.Run(t.Context(), f), broken)
	assert.Equal(t, small.Len()/len(small.Names), f.Done())
}
