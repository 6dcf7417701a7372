//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import "runtime"

// thread runs calls one after another on one OS thread, to which the driver's
// context is bound.
type thread struct {
	calls chan func()
	ended chan struct{}
}

// ahead is how many calls may wait, so that queueing one costs no switch of threads.
const ahead = 512

func newThread() *thread {
	t := &thread{make(chan func(), ahead), make(chan struct{})}
	go func() {
		defer close(t.ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for call := range t.calls {
			call()
		}
	}()
	return t
}

// post runs a call after those before it, and doesn't wait for it.
func (t *thread) post(call func()) { t.calls <- call }

// do waits for a call.
func (t *thread) do(call func()) {
	done := make(chan struct{})
	t.calls <- func() {
		defer close(done)
		call()
	}
	<-done
}

// end waits for all calls and lets go of the OS thread.
func (t *thread) end() {
	close(t.calls)
	<-t.ended
}
