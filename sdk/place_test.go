package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// failing is a device whose call number after fails, of those that return an error,
// and all later ones.
type failing struct {
	compute.Device
	after int
	err   error
}

func (d *failing) fails() bool {
	d.after--
	return d.after < 0
}

func (d *failing) Alloc(n int) (compute.Buffer, error) {
	if d.fails() {
		return nil, d.err
	}
	return d.Device.Alloc(n)
}

func (d *failing) PrepareConv(shape compute.ConvShape, weight, bias []float32) (compute.Weights, error) {
	if d.fails() {
		return nil, d.err
	}
	return d.Device.PrepareConv(shape, weight, bias)
}

func (d *failing) Read(dst []float32, src compute.Tensor) error {
	if d.fails() {
		return d.err
	}
	return d.Device.Read(dst, src)
}

func (d *failing) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	if d.fails() {
		return nil, d.err
	}
	return d.Device.Dots(pairs...)
}

func (d *failing) Sync() error {
	if d.fails() {
		return d.err
	}
	return d.Device.Sync()
}

// bench is a place with the Gaussian mixture's problem on CPU devices that fail.
type bench struct {
	o         sdk.Options
	y         []float32
	config    *mixture.Problem
	alphaBars []float64
	opened    int
	device    func(opened int, loss sdk.Loss) (compute.Device, error)
}

func newBench(t *testing.T) (*bench, []float32) {
	p, o := gaussians(t, device(t, 1), 2, 3)
	config, err := mixture.NewProblem(mixture.ProblemConfig{Components: 6, Dim: 8, Rows: 3, Seed: 2})
	require.NoError(t, err)
	betas, err := diffusion.LinearBetas(100, 1e-3, 0.1)
	require.NoError(t, err)
	return &bench{o: o, y: p.Y, config: config, alphaBars: diffusion.AlphaBars(betas)}, restore(t, p, o)
}

func (b *bench) open(_ context.Context, loss sdk.Loss) (prior.Model, func(), error) {
	b.opened++
	d, err := b.device(b.opened, loss)
	if err != nil {
		return nil, nil, err
	}
	m, err := mixture.NewModel(b.config.Prior, b.alphaBars, d)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return m, func() { m.Close(); d.Close() }, nil
}

func (b *bench) problem(m prior.Model) (sdk.Problem, func(), error) {
	op, err := measure.NewDense(m.Device(), b.config.A)
	if err != nil {
		return sdk.Problem{}, nil, err
	}
	return sdk.Problem{Prior: m, Operator: op, Y: b.y, N: 2, SigmaY: b.config.SigmaY}, op.Close, nil
}

func (b *bench) restore(o sdk.Options) ([]float32, error) {
	place, err := sdk.NewPlace(context.Background(), b.open)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	return place.Restore(context.Background(), b.problem, o)
}

// Wherever a device is lost, the picture is the same to the bit as without the
// loss, no step is reported twice, and passes are those of the steps that counted.
func TestPlaceLost(t *testing.T) {
	b, want := newBench(t)
	var healthy []sdk.Progress
	o := b.o
	o.OnStep = func(p sdk.Progress) { healthy = append(healthy, p) }
	b.device = func(int, sdk.Loss) (compute.Device, error) { return cpu.New(1), nil }
	x, err := b.restore(o)
	require.NoError(t, err)
	require.Equal(t, want, x)

	for after, done := 0, false; !done; after++ {
		require.Less(t, after, 1000)
		var seen []sdk.Progress
		o.OnStep = func(p sdk.Progress) { seen = append(seen, p) }
		b.opened = 0
		b.device = func(opened int, loss sdk.Loss) (compute.Device, error) {
			if opened == 1 {
				return &failing{cpu.New(1), after, fmt.Errorf("unplugged: %w", compute.ErrLost)}, nil
			}
			assert.ErrorIs(t, loss.Cause, compute.ErrLost)
			assert.Equal(t, 1, loss.InARow)
			return cpu.New(1), nil
		}
		x, err := b.restore(o)
		done = b.opened == 1
		require.NoError(t, err, "lost at call %d", after)
		require.Equal(t, want, x, "lost at call %d", after)
		assert.Equal(t, healthy, seen, "lost at call %d", after)
	}
}

// A device that is always lost at the same place ends the work; one that gets on, if
// only by a step, does not.
func TestPlaceGivesUp(t *testing.T) {
	b, want := newBench(t)
	b.o.OnStep = nil
	after := 0
	b.device = func(int, sdk.Loss) (compute.Device, error) { return &failing{cpu.New(1), after, compute.ErrLost}, nil }
	gaveUp, finished := 0, 0
	for after = 1; finished == 0; after++ {
		require.Less(t, after, 1000)
		b.opened = 0
		x, err := b.restore(b.o)
		if err == nil {
			assert.Equal(t, want, x)
			if b.opened > 1 {
				finished++
			}
			continue
		}
		require.ErrorIs(t, err, compute.ErrLost)
		assert.LessOrEqual(t, b.opened, 4+2)
		gaveUp++
	}
	assert.Greater(t, gaveUp, 3)
}

// Without memory the opener is asked: it may go elsewhere or decline. Other errors
// are the caller's.
func TestPlaceErrors(t *testing.T) {
	b, want := newBench(t)
	first := &failing{cpu.New(1), 30, fmt.Errorf("full: %w", compute.ErrMemory)}
	b.device = func(opened int, loss sdk.Loss) (compute.Device, error) {
		if opened == 1 {
			return first, nil
		}
		assert.ErrorIs(t, loss.Cause, compute.ErrMemory)
		return cpu.New(1), nil
	}
	x, err := b.restore(b.o)
	require.NoError(t, err)
	assert.Equal(t, want, x)

	b.opened = 0
	first = &failing{cpu.New(1), 30, fmt.Errorf("full: %w", compute.ErrMemory)}
	b.device = func(opened int, loss sdk.Loss) (compute.Device, error) {
		if opened == 1 {
			return first, nil
		}
		return nil, loss.Cause
	}
	_, err = b.restore(b.o)
	require.ErrorIs(t, err, compute.ErrMemory)
	assert.Equal(t, 2, b.opened)

	b.opened = 0
	invalid := errors.New("not valid")
	b.device = func(int, sdk.Loss) (compute.Device, error) { return &failing{cpu.New(1), 30, invalid}, nil }
	_, err = b.restore(b.o)
	require.ErrorIs(t, err, invalid)
	assert.Equal(t, 1, b.opened)
}

// Work at a place may be anything; cancelling ends it, and so does closing.
func TestPlaceDo(t *testing.T) {
	b, _ := newBench(t)
	b.device = func(int, sdk.Loss) (compute.Device, error) { return cpu.New(1), nil }
	ctx, cancel := context.WithCancel(context.Background())
	place, err := sdk.NewPlace(ctx, b.open)
	require.NoError(t, err)
	calls := 0
	require.NoError(t, place.Do(ctx, func(m prior.Model) error {
		assert.Same(t, place.Prior(), m)
		if calls++; calls < 3 {
			return compute.ErrLost
		}
		return nil
	}))
	assert.Equal(t, 3, b.opened)
	cancel()
	assert.ErrorIs(t, place.Do(ctx, func(prior.Model) error { return compute.ErrLost }), compute.ErrLost)
	assert.Equal(t, 3, b.opened)
	place.Close()
	assert.Error(t, place.Do(context.Background(), func(prior.Model) error { return nil }))
}

// A run goes on from a saved state, to the same picture.
func TestSaved(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 4)
	want := restore(t, p, o)
	ctx, cancel := context.WithCancel(context.Background())
	o.Saved = &sdk.Saved{}
	var passes []int
	o.OnStep = func(s sdk.Progress) {
		passes = append(passes, s.Passes)
		if s.Step == 2 {
			cancel()
		}
	}
	_, err := sdk.Restore(ctx, p, o)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, o.Saved.Next)
	assert.Equal(t, want, restore(t, p, o))
	assert.Len(t, passes, 4)
	assert.IsIncreasing(t, passes)
	assert.Equal(t, -1, o.Saved.Next)
	assert.Equal(t, want, restore(t, p, o), "a finished run")
	o.Saved.X = o.Saved.X[1:]
	_, err = sdk.Restore(context.Background(), p, o)
	assert.Error(t, err)
}
