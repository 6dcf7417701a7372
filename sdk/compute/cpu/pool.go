package cpu

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// worker holds what one thread owns.
type worker struct {
	wake    chan struct{}
	asleep  atomic.Bool
	scratch []float32
	pool    *pool
	// Arguments and results of kernels, here so that a call allocates nothing:
	act         act
	group       group
	sums, means [3]float32
	sources     [4][]float32 // of a map
}

// task computes piece i of a kernel. Its arguments are fields of the device, not captured
// variables, so that a call of a kernel allocates nothing.
type task func(d *Device, w *worker, i int)

// floats returns n values of the thread's scratch, contents unspecified. The next call
// may return the same ones: a task uses one such slice at a time.
func (w *worker) floats(n int) []float32 {
	if cap(w.scratch) < n {
		w.scratch = make([]float32, n)
	}
	w.pool.poison(w.scratch[:n])
	return w.scratch[:n]
}

// poison fills values with NaN where [compute.Poison] says so.
func (p *pool) poison(values []float32) {
	if p.poisons {
		for i := range values {
			values[i] = compute.Unwritten
		}
	}
}

// pool runs numbered tasks on its workers, the first of which is the caller.
// Kernels follow each other within microseconds, faster than a sleeping thread
// wakes, so that a helper looks for more work for a moment before it sleeps.
type pool struct {
	workers []*worker
	dev     *Device // the caller's, while tasks run
	task    task
	left    atomic.Int64 // tasks not yet taken; below 0 the pool is closed
	undone  atomic.Int64 // tasks not yet finished
	waiting atomic.Bool  // the caller sleeps until none is
	done    chan struct{}
	poisons bool // memory is full of NaN when it is handed out, see compute.Poison
	eager   bool // threads have a processor each: they poll for work before they sleep
}

// patience is how long a thread without work polls before it sleeps: longer than the
// last task of another thread or a kernel of one task usually takes, because waking a
// thread is slow, and much shorter than a step, so that an idle device does not load
// the processors.
const patience = 100 * time.Microsecond

// spin polls count until it is zero, or with zero false until it is not, and returns
// whether that happened within patience. A pool that is not eager looks once.
func (p *pool) spin(count *atomic.Int64, zero bool) bool {
	if (count.Load() == 0) == zero {
		return true
	}
	if !p.eager {
		return false
	}
	for start := time.Now(); time.Since(start) < patience; {
		for range 16 {
			if (count.Load() == 0) == zero {
				return true
			}
			pause()
		}
	}
	return false
}

func newPool(threads int) *pool {
	p := &pool{workers: make([]*worker, max(threads, 1)), done: make(chan struct{}, 1)}
	p.poisons, _ = compute.Poison() // Open refuses another value
	p.eager = threads <= min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	for i := range p.workers {
		w := &worker{wake: make(chan struct{}, 1), pool: p}
		p.workers[i] = w
		if i > 0 {
			go p.help(w)
		}
	}
	return p
}

// help runs tasks on a helper's thread until the pool is closed.
func (p *pool) help(w *worker) {
	for {
		if p.spin(&p.left, false) {
			if p.left.Load() < 0 {
				return
			}
			p.run(w)
			continue
		}
		w.asleep.Store(true)
		// Whoever sets asleep back decides: the caller has then sent a wake.
		if p.left.Load() == 0 || !w.asleep.CompareAndSwap(true, false) {
			<-w.wake
		}
		if p.left.Load() < 0 {
			return
		}
		p.run(w)
	}
}

// run takes tasks until none is left.
func (p *pool) run(w *worker) {
	for {
		n := p.left.Load()
		if n <= 0 {
			return
		}
		if !p.left.CompareAndSwap(n, n-1) {
			continue
		}
		p.task(p.dev, w, int(n-1))
		if p.undone.Add(-1) == 0 && p.waiting.CompareAndSwap(true, false) {
			p.done <- struct{}{}
		}
	}
}

// start makes n tasks available and wakes those helpers that sleep.
func (p *pool) start(n int64, helpers []*worker) {
	p.undone.Store(n)
	p.left.Store(n)
	for _, w := range helpers {
		if w.asleep.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// wait returns when every task is finished.
func (p *pool) wait() {
	if p.spin(&p.undone, true) {
		return
	}
	p.waiting.Store(true)
	if p.undone.Load() > 0 || !p.waiting.CompareAndSwap(true, false) {
		<-p.done
	}
}

func (p *pool) close() {
	p.start(-1, p.workers[1:])
	p.workers = p.workers[:1]
}

// parallel calls task for 0 … n−1 in any order on all threads. Which thread runs
// a task must not change its result.
func (d *Device) parallel(n int, task task) {
	p := d.pool
	if len(p.workers) == 1 || n == 1 {
		for i := range n {
			task(d, p.workers[0], i)
		}
		return
	}
	p.dev, p.task = d, task
	p.start(int64(n), p.workers[1:min(n, len(p.workers))])
	p.run(p.workers[0])
	p.wait()
	p.dev, p.task = nil, nil // a forgotten device's pool must not keep it
	runtime.KeepAlive(d)     // else its cleanup could close the pool meanwhile
}

// batch and chunk are the least and the most values of one task of pointwise
// work.
const (
	batch = 4096
	chunk = 16384
)

// batched is a call of batches.
type batched struct {
	n, size int
	task    task
}

// batches calls task for 0 … n−1. Each is pointwise work on about so many values;
// small ones are run several in a row on one thread.
func (d *Device) batches(n, values int, task task) {
	size := max(1, batch/values)
	d.batched = batched{n, size, task}
	d.parallel(ceil(n, size), func(d *Device, w *worker, b int) {
		c := &d.batched
		for i := b * c.size; i < min((b+1)*c.size, c.n); i++ {
			c.task(d, w, i)
		}
	})
}

// spanned is a call of spans.
type spanned struct {
	length, pieces int
	task           func(d *Device, w *worker, n, from, to int)
}

// spans calls task for pieces [from, to) of every one of n images of so many values.
func (d *Device) spans(n, length int, task func(d *Device, w *worker, n, from, to int)) {
	pieces := ceil(length, chunk)
	d.spanned = spanned{length, pieces, task}
	d.parallel(n*pieces, func(d *Device, w *worker, i int) {
		c := &d.spanned
		from := i % c.pieces * chunk
		c.task(d, w, i/c.pieces, from, min(from+chunk, c.length))
	})
}
