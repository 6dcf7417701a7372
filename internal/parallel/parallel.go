// Package parallel spreads host work that needs no device over the processors.
package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// For calls f with 0 … n−1, on as many goroutines as Go uses processors, and returns when all
// calls have. Which goroutine takes which is left to chance: f writes to places of its own.
func For(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}
