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
	X      []float32 // the state [N,C,H,W]; nil before the first step
	Next   int       // index of the step that comes next; −1 when the run is done
	Passes int       // network passes so far
}

// Opener opens a device with a prior on it; close releases both. lost is nil at
// first, and later the failure of the device before, which wraps compute.ErrLost or
// compute.ErrMemory: open another such device, or one of another kind, or end the
// work by returning lost itself.
type Opener func(ctx context.Context, lost error) (m prior.Model, close func(), err error)

// Place is where runs compute: a prior on a device. When the device is lost, a new
// one is opened and what was begun goes on there. It belongs to one goroutine.
type Place struct {
	open   Opener
	model  prior.Model
	close  func()
	lost   error // why there is no model, or was none before
	losses int   // since something was done
}

// mostLosses is how often in a row a device may be lost before the work is given up.
const mostLosses = 3

// NewPlace opens a place. Close it.
func NewPlace(ctx context.Context, open Opener) (*Place, error) {
	p := &Place{open: open, close: func() {}}
	return p, p.enter(ctx)
}

// Prior is the prior on the present device, another one after a loss; nil where
// there is none.
func (p *Place) Prior() prior.Model { return p.model }

// Close releases the prior and its device.
func (p *Place) Close() { p.leave(errClosed) }

var errClosed = errors.New("the place is closed")

// leave releases the prior and its device, because of an error.
func (p *Place) leave(err error) {
	p.close()
	p.model, p.close, p.lost = nil, func() {}, err
}

// enter opens a device where there is none.
func (p *Place) enter(ctx context.Context) error {
	if p.model != nil {
		return nil
	}
	m, close, err := p.open(ctx, p.lost)
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
	if errors.Is(p.lost, errClosed) {
		return errClosed
	}
	for {
		err := p.enter(ctx)
		declined := err != nil && p.lost != nil && errors.Is(err, p.lost)
		if err == nil {
			err = work(p.model)
		}
		if err == nil || declined || ctx.Err() != nil || !errors.Is(err, compute.ErrLost) && !errors.Is(err, compute.ErrMemory) {
			p.losses = 0
			return err
		}
		p.leave(err)
		if p.losses++; p.losses > mostLosses {
			return fmt.Errorf("%d times in a row: %w", p.losses, err)
		}
	}
}

// Restore is [Restore] at a place: problem makes the problem on the prior it is
// given, and the operator on its device; release frees them. After a loss the run goes
// on from its last finished step.
func (p *Place) Restore(ctx context.Context, problem func(prior.Model) (made Problem, release func(), err error), o Options) (x []float32, err error) {
	if o.Saved == nil {
		o.Saved = &Saved{}
	}
	report := o.OnStep
	o.OnStep = func(s Progress) {
		p.losses = 0
		if report != nil {
			report(s)
		}
	}
	err = p.Do(ctx, func(m prior.Model) error {
		made, release, err := problem(m)
		if err != nil {
			return err
		}
		defer release()
		x, err = Restore(ctx, made, o)
		return err
	})
	return x, err
}
