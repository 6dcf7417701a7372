//go:build js

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"syscall/js"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/tiles"
)

// frame is the size of a restored image, and that to which it is extended by reflection for the
// prior's windows and the task. Both are the same without windows.
type frame struct {
	h, w, paddedH, paddedW int
	factor                 int // by which the measurement is smaller
}

// image cuts a restored image to its own size.
func (f frame) image(channels int, pix []float32) []float32 {
	return job.Crop(pix, channels, f.paddedH, f.paddedW, f.h, f.w)
}

// measurement cuts a measurement to what is of the image, where it is a picture.
func (f frame) measurement(y job.Measurement) job.Measurement {
	if y.H*f.factor != f.paddedH || y.W*f.factor != f.paddedW {
		return y
	}
	h, w := (f.h+f.factor-1)/f.factor, (f.w+f.factor-1)/f.factor
	y.Y = job.Crop(y.Y, y.C, y.H, y.W, h, w)
	if y.Known != nil {
		y.Known = job.Crop(y.Known, 1, y.H, y.W, h, w)
	}
	y.H, y.W = h, w
	return y
}

// mostPixels bounds what is planned at all, so that no product of sizes overflows.
const mostPixels = 1 << 28

// frame returns the sizes of the request's image.
func (r *request) frame(base prior.Model) (f frame, err error) {
	_, side, width := base.Image()
	if !r.Tiles {
		return frame{side, width, side, width, 1}, nil
	}
	if f.factor, _, err = r.Reduction(base); err != nil {
		return f, err
	}
	scale := 1
	if r.Measured {
		scale = f.factor
	}
	if r.Pixels.Height < 1 || r.Pixels.Width < 1 || r.Pixels.Height*scale > mostPixels/scale/r.Pixels.Width {
		return f, fmt.Errorf("a picture of %d×%d pixels can't be restored: at most %d pixels can be thought of", r.Pixels.Width, r.Pixels.Height, mostPixels)
	}
	f.h, f.w = r.Pixels.Height*scale, r.Pixels.Width*scale
	padded := func(length, least int) int { return (max(length, least) + f.factor - 1) / f.factor * f.factor }
	f.paddedH, f.paddedW = padded(f.h, side), padded(f.w, width)
	return f, nil
}

// prior returns the model that restores images of a frame, which the caller closes, and how it
// is made from the model that is loaded; nil where that is it.
func (r *request) prior(base prior.Model, f frame) (m prior.Model, again func(prior.Model) (prior.Model, error), err error) {
	if !r.Tiles {
		return base, nil, nil
	}
	again = func(base prior.Model) (prior.Model, error) {
		windows := job.Windows{ValuesAtOnce: 64, Memory: int64(r.Memory)}
		if info := base.Device().Info(); info.Name == "cpu" || info.Software { // computes one after the other in any case
			windows.ValuesAtOnce = 8
		}
		return r.Spec.Tiles(base, f.paddedH, f.paddedW, 1, windows)
	}
	m, err = again(base)
	return m, again, err
}

// job makes the job of a sample, from 0, of the request's image.
func (r *request) job(base prior.Model, sample int, pixels, mask, kernel js.Value) (*job.Job, frame, error) {
	if err := r.start(base); err != nil {
		return nil, frame{}, err
	}
	f, err := r.frame(base)
	if err != nil {
		return nil, f, err
	}
	image, err := r.image(base, f, pixels, mask, kernel)
	if err != nil {
		return nil, f, err
	}
	image.Sample = sample
	m, again, err := r.prior(base, f)
	if err != nil {
		return nil, f, err
	}
	if again != nil {
		defer m.Close()
	}
	j, err := job.New(m, r.Spec, image)
	if err == nil {
		j.Prior = again
	}
	return j, f, err
}

// hostImages is about how many copies of an image, as float32 values, a run holds beside the
// device's memory: the picture, what is sent and read, and the results.
const hostImages = 12

// plan(request) says what a run takes, before any of it is done: see engine.ts. The request has
// the picture's size and no pixels.
func plan(ctx context.Context, e *engine, args []js.Value) (any, error) {
	r, err := readRequest(args[0].String())
	if err != nil {
		return nil, badInput{err}
	}
	if _, err := e.loaded(ctx); err != nil {
		return nil, err
	}
	if e.model.timed != e.model.place.Prior().Device() {
		if err := e.model.place.Do(ctx, e.model.time); err != nil { // opens the device again where it was lost
			return nil, e.refused(err)
		}
	}
	base := e.model.place.Prior()
	if err := r.start(base); err != nil {
		return nil, e.refused(err)
	}
	f, err := r.frame(base)
	if err != nil {
		return nil, e.refused(err)
	}
	m, again, err := r.prior(base, f)
	if err != nil {
		return nil, e.refused(err)
	}
	if again != nil {
		defer m.Close()
	}
	options, err := r.Spec.Options(m)
	if err != nil {
		return nil, e.refused(err)
	}
	p := sdk.NewPlan(m, options, 1)
	channels, _, _ := m.Image()
	held := float64(job.Held(base))
	free := float64(m.Device().Info().Memory)
	if free > 0 {
		free += held
	}
	if r.Memory > 0 && (free == 0 || r.Memory < free) {
		free = r.Memory
	}
	memory := float64(p.Memory) + held + float64(hostImages+3*(r.Samples-1))*4*float64(channels*f.paddedH*f.paddedW)
	windows := 1
	if t, ok := m.(*tiles.Model); ok {
		windows = t.Windows()
	}
	passes := p.Passes() * r.Samples
	return map[string]any{
		"height": f.h, "width": f.w, "windows": windows, "passes": passes, "seconds": float64(passes) * e.model.seconds,
		"memory": memory, "free": free, "fits": p.Fits() == nil && (free == 0 || memory <= free),
	}, nil
}

// time finds the seconds of a forward of the model.
func (m *model) time(net prior.Model) error {
	dev := net.Device()
	c, h, w := net.Image()
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	values := make([]float32, c*h*w)
	for i := range values {
		values[i] = float32(math.Sin(float64(i) * 1.7)) // any dense values will do
	}
	x := ws.FromHost(values, 1, c, h, w)
	if err := ws.Err(); err != nil {
		return err
	}
	var times []float64
	for range 2 { // the first prepares kernels and weights
		start := time.Now()
		if _, err := net.At(x, []int{net.Steps() / 3}); err != nil {
			return err
		}
		if err := dev.Sync(); err != nil {
			return err
		}
		times = append(times, time.Since(start).Seconds())
	}
	m.timed, m.seconds = dev, slices.Min(times)
	return nil
}
