//go:build js

package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"syscall/js"

	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// request is the numbers of a RestoreRequest, see engine.ts; the arrays are beside it.
type request struct {
	job.Spec
	Pixels       struct{ Height, Width int }
	Kernel       struct{ Height, Width int }
	Seed         string `json:"seed"` // JavaScript's numbers are too short
	PreviewEvery int
	Tiles        bool    // keep the picture's size: the model covers it by windows
	Memory       float64 // bytes that a run by windows may take; 0: what the device has
	Samples      int     // of the posterior, each with noise of its own

	usual bool // the method was left to us, and the start with it
}

// unset stands for a number of steps that the request does not give.
const unset = math.MinInt32

// mostSamples bounds a request's samples: they are held together.
const mostSamples = 64

// readRequest reads the JSON of a request over the defaults.
func readRequest(text string) (r request, err error) {
	r.Spec, r.Seed, r.Samples = job.Default(), "1", 1
	r.Method, r.Steps = "", unset
	if err := job.Decode([]byte(text), &r); err != nil {
		return r, err
	}
	usual := r.Spec.Usual(r.Samples)
	if r.Method == "" {
		r.Method, r.usual = usual.Method, r.Start == 0
	} else {
		usual.Steps = job.Default().Steps
	}
	if r.Steps == unset {
		r.Steps = usual.Steps
	}
	if r.Spec.Seed, err = strconv.ParseUint(r.Seed, 10, 64); err != nil {
		return r, fmt.Errorf("seed is %s, a whole number from 0 to 2⁶⁴ − 1 is wanted", r.Seed)
	}
	if r.PreviewEvery < 0 {
		return r, fmt.Errorf("previewEvery is %d, a number from 0 is wanted", r.PreviewEvery)
	}
	if r.Samples < 1 || r.Samples > mostSamples {
		return r, fmt.Errorf("samples is %d, a number from 1 to %d is wanted", r.Samples, mostSamples)
	}
	if !(r.Memory >= 0) {
		return r, fmt.Errorf("memory is %v, a number of bytes from 0 is wanted", r.Memory)
	}
	return r, nil
}

// start chooses where the run starts, if the method was left to us.
func (r *request) start(m prior.Model) (err error) {
	if r.usual {
		r.Start, err = r.UsualStart(m)
	}
	return err
}

// image is the request's pixels, with its mask or kernel, extended to its frame.
func (r *request) image(m prior.Model, f frame, pixels, mask, kernel js.Value) (i job.Image, err error) {
	if r.Task == "mask" {
		if !mask.Truthy() {
			return i, errors.New(`task "mask" needs a mask`)
		}
		for _, v := range bytesOf(mask) {
			i.Mask = append(i.Mask, float32(min(v, 1)))
		}
		if r.Tiles {
			if len(i.Mask) != f.h*f.w {
				return i, fmt.Errorf("%d mask values, %d×%d are wanted", len(i.Mask), f.h, f.w)
			}
			i.Mask = job.Reflect(i.Mask, 1, f.h, f.w, f.paddedH, f.paddedW)
		}
	}
	if r.Task == "kernel" {
		if !kernel.Truthy() {
			return i, errors.New(`task "kernel" needs a kernel`)
		}
		var weights []float64
		for _, v := range floatsOf(kernel) {
			weights = append(weights, float64(v))
		}
		k, err := measure.NewKernel(r.Kernel.Height, r.Kernel.Width, weights)
		if err != nil {
			return i, err
		}
		i.Kernel = &k
	}
	if task, err := measure.FindTask(r.Task); err == nil && task.NoPicture && r.Measured && !isFloats(pixels) {
		return i, fmt.Errorf("a measurement of task %s is no picture: give its values as a Float32Array", r.Task)
	}
	if r.Tiles {
		_, c, err := r.Reduction(m)
		if err != nil {
			return i, err
		}
		h, w := f.paddedH, f.paddedW
		if r.Measured {
			h, w = h/f.factor, w/f.factor
		}
		own, err := planes(pixels, c, r.Pixels.Height*r.Pixels.Width)
		if err != nil {
			return i, err
		}
		i.C, i.H, i.W, i.Pix = c, h, w, job.Reflect(own, c, r.Pixels.Height, r.Pixels.Width, h, w)
		return i, nil
	}
	c, h, w, err := r.Shape(m, i)
	if err != nil {
		return i, err
	}
	i.C, i.H, i.W = c, r.Pixels.Height, r.Pixels.Width
	if i.H == h && i.W == w { // else the job refuses it
		i.Pix, err = planes(pixels, c, h*w)
	}
	return i, err
}

// planes is pixels as values of c channels, from a Float32Array of c·plane values or
// from bytes in RGBA.
func planes(pixels js.Value, c, plane int) ([]float32, error) {
	if isFloats(pixels) {
		if n := pixels.Length(); n != c*plane {
			return nil, fmt.Errorf("%d pixel values, %d channels of %d are wanted", n, c, plane)
		}
		x := floatsOf(pixels)
		for i, v := range x {
			if v-v != 0 {
				return nil, fmt.Errorf("pixel value %d is %v, numbers in [-1, 1] are wanted", i, v)
			}
		}
		return x, nil
	}
	if n := pixels.Length(); n != 4*plane {
		return nil, fmt.Errorf("%d bytes of pixels, %d of RGBA are wanted", n, 4*plane)
	}
	rgba := bytesOf(pixels)
	x := make([]float32, c*plane)
	for i := range plane {
		p := rgba[4*i:]
		switch c {
		case 3:
			for k := range 3 {
				x[k*plane+i] = level(float64(p[k]))
			}
		case 1:
			x[i] = level(0.299*float64(p[0]) + 0.587*float64(p[1]) + 0.114*float64(p[2]))
		default:
			return nil, fmt.Errorf("pixels in RGBA for images of %d channels: give a Float32Array", c)
		}
	}
	return x, nil
}

func isFloats(v js.Value) bool { return v.InstanceOf(js.Global().Get("Float32Array")) }

// level returns a byte's value as package picture has it.
func level(v float64) float32 { return float32(v/127.5 - 1) }
