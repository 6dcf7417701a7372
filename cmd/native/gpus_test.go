package main

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/sdk"
)

// Each number is done once, on its place, in order; a failure comes out and stops
// the rest, and so does cancelling.
func TestShare(t *testing.T) {
	places := make([]*sdk.Place, 3)
	var lock sync.Mutex
	done := make([][]int, len(places))
	note := func(lane, k int) {
		lock.Lock()
		defer lock.Unlock()
		done[lane] = append(done[lane], k)
	}
	assert.NoError(t, share(t.Context(), places, 8, func(_ context.Context, lane, k int) error { note(lane, k); return nil }))
	assert.Equal(t, [][]int{{0, 3, 6}, {1, 4, 7}, {2, 5}}, done)

	broken := errors.New("broken")
	err := share(t.Context(), places, 1000, func(ctx context.Context, lane, k int) error {
		if k == 4 {
			return broken
		}
		if lane != 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	assert.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(t.Context())
	err = share(ctx, places, 1000, func(ctx context.Context, lane, k int) error {
		cancel()
		return ctx.Err()
	})
	assert.ErrorIs(t, err, context.Canceled)
}
