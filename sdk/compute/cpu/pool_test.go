package cpu

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every task runs once, however short the jobs and however many helpers, awake
// or asleep.
func TestParallelRunsEveryTaskOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 7} {
		d := newDevice(threads, generic)
		for job := range 3000 {
			n := 1 + job%11
			counts := make([]atomic.Int32, n)
			d.parallel(n, func(_ *Device, _ *worker, i int) { counts[i].Add(1) })
			for i := range counts {
				require.Equal(t, int32(1), counts[i].Load(), "task %d of %d", i, n)
			}
			if job%1000 == 0 {
				time.Sleep(time.Millisecond) // let the helpers fall asleep
			}
		}
		require.NoError(t, d.Close())
		ran := 0
		d.parallel(5, func(*Device, *worker, int) { ran++ })
		assert.Equal(t, 5, ran, "a closed device has one thread")
	}
}

// An idle device takes no processor: its helpers sleep soon after the last job.
func TestHelpersSleepWhenIdle(t *testing.T) {
	d := newDevice(0, generic) // a thread for each processor: they poll for work before they sleep
	defer d.Close()
	d.parallel(100, func(*Device, *worker, int) {})
	for _, w := range d.pool.workers[1:] {
		require.Eventually(t, w.asleep.Load, 10*time.Second, time.Millisecond)
	}
}
