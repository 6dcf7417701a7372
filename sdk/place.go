package sdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Saved is a run as it was after a step, on the host.
type Saved struct {
	X      []float32 // the state, see [Solver.SetState]; nil before the first step
	Next   int       // index of the step that comes next; −1 when the run is done
	Passes int       // network passes so far
}

// Loss is how a place has lost its device.
type Loss struct {
	Cause  error // wraps compute.ErrLost or compute.ErrMemory; nil when a place is opened first
	InARow int   // losses since a step was finished, this one included
}

// Opener opens a device with a prior on it; close releases both. After a loss it may
// open another such device, or one of another kind, or end the work by returning the
// loss's cause.
type Opener func(ctx context.Context, loss Loss) (m prior.Model, close func(), err error)

// Place is where runs compute: a prior on a device. When the device is lost, a new
// one is opened and what was begun goes on there. It belongs to one goroutine.
type Place struct {
	open  Opener
	model prior.Model
	close func()
	loss  Loss // why there is no model, or was none before
}

// mostLosses is how often in a row a device may be lost before the work is given up.
const mostLosses = 3

// NewPlace opens a place. Close it.
func NewPlace(ctx context.Context, open Opener) (*Place, error) {
	p := &Place{open: open, close: func() {}}
	return p, p.Do(ctx, func(prior.Model) error { return nil })
}

// PlaceOf returns a place that has no other device to go to. The prior stays the caller's.
func PlaceOf(m prior.Model) *Place {
	return &Place{model: m, close: func() {}, open: func(_ context.Context, l Loss) (prior.Model, func(), error) { return nil, nil, l.Cause }}
}

// Prior returns the prior on the present device, another one after a loss; nil where
// there is none.
func (p *Place) Prior() prior.Model { return p.model }

// Close releases the prior and its device.
func (p *Place) Close() { p.leave(errClosed) }

var errClosed = errors.New("the place is closed")

// leave releases the prior and its device, because of an error.
func (p *Place) leave(cause error) {
	p.close()
	p.model, p.close, p.loss.Cause = nil, func() {}, cause
}

// enter opens a device where there is none.
func (p *Place) enter(ctx context.Context) error {
	if p.model != nil {
		return nil
	}
	m, close, err := p.open(ctx, p.loss)
	if err != nil {
		return err
	}
	p.model, p.close = m, close
	return nil
}

// Do calls work with the prior, and again with a new one whenever work fails
// because the device is lost or has not enough memory. What lives on a device is
// work's to make and to release in each call.
func (p *Place) Do(ctx context.Context, work func(prior.Model) error) error {
	if errors.Is(p.loss.Cause, errClosed) {
		return errClosed
	}
	for {
		err := p.enter(ctx)
		declined := err != nil && p.loss.Cause != nil && errors.Is(err, p.loss.Cause)
		if err == nil {
			err = work(p.model)
		}
		if err == nil || declined || ctx.Err() != nil || !errors.Is(err, compute.ErrLost) && !errors.Is(err, compute.ErrMemory) {
			p.loss.InARow = 0
			return err
		}
		p.leave(err)
		if p.loss.InARow++; p.loss.InARow > mostLosses {
			return fmt.Errorf("%d times in a row: %w", p.loss.InARow, err)
		}
	}
}

// Restore is [Restore] at a place: problem makes the problem on the prior it is
// given, and the operator on its device; release, unless nil, frees them, also where
// problem fails. After a loss the run goes on from its last finished step.
func (p *Place) Restore(ctx context.Context, problem func(prior.Model) (made Problem, release func(), err error), o Options) (x []float32, err error) {
	if o.Saved == nil {
		o.Saved = &Saved{}
	}
	report := o.OnStep
	o.OnStep = func(s Progress) {
		p.loss.InARow = 0
		if report != nil {
			report(s)
		}
	}
	err = p.Do(ctx, func(m prior.Model) error {
		made, release, err := problem(m)
		if release != nil {
			defer release()
		}
		if err != nil {
			return err
		}
		x, err = Restore(ctx, made, o)
		return err
	})
	return x, err
}
