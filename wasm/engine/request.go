//go:build js

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall/js"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// request is the numbers of a RestoreRequest, see engine.ts; the arrays are beside it.
type request struct {
	Pixels       struct{ Height, Width int }
	Measured     bool
	Task         string
	Kernel       struct{ Height, Width int }
	Border       string
	Seed         string
	Steps        int
	Method       string
	Scale        float64
	DDIM         *float64
	CMI          json.RawMessage
	SigmaY       float64
	PreviewEvery int
}

// readRequest reads the JSON of a request over the defaults.
func readRequest(text string) (request, error) {
	r := request{Border: "reflect", Seed: "1", Steps: 100, Method: "dps", SigmaY: 0.05}
	return r, decode(text, &r)
}

// decode reads JSON strictly; its errors name the key.
func decode(text string, to any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(to)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s is %s, %s is wanted", strings.ToLower(wrong.Field), strings.TrimPrefix(wrong.Value, "number "), wanted[wrong.Type.Kind().String()])
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

var wanted = map[string]string{"int": "a whole number", "float64": "a number", "bool": "true or false", "string": "a name", "struct": "an object"}

func (r *request) seed() (uint64, error) {
	seed, err := strconv.ParseUint(r.Seed, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("seed is %s, a whole number from 0 to 2⁶⁴ − 1 is wanted", r.Seed)
	}
	return seed, nil
}

// term is the information term, nil for none.
func (r *request) term() (*cmi.Options, error) {
	o := cmi.Defaults()
	switch string(r.CMI) {
	case "", "null", "false":
		return nil, nil
	case "true":
	default:
		if err := decode(string(r.CMI), &o); err != nil {
			return nil, fmt.Errorf("cmi: %w", err)
		}
	}
	return &o, o.Validate()
}

// options are the sampler's.
func (r *request) options(m prior.Model) (sdk.Options, error) {
	o, err := sdk.Defaults(m, r.Task, r.Steps)
	if err != nil {
		return o, err
	}
	if o.Seed, err = r.seed(); err != nil {
		return o, err
	}
	if o.CMI, err = r.term(); err != nil {
		return o, err
	}
	method, ok := guide.Named[r.Method]
	if !ok {
		return o, fmt.Errorf("unknown method %q: known are %s", r.Method, strings.Join(slices.Sorted(maps.Keys(guide.Named)), ", "))
	}
	lanczos := cmi.Defaults().Lanczos
	if o.CMI != nil {
		lanczos = o.CMI.Lanczos
	}
	o.Method, o.DDIM = method(guide.Settings{Task: r.Task, Steps: r.Steps, Scale: r.Scale, Lanczos: lanczos}), r.DDIM
	if o.DDIM == nil {
		o.DDIM = guide.PublishedDDIM(o.Method)
	}
	return o, guide.Validate(o.Method, o.DDIM)
}

// subject is what is measured, and how.
type subject struct {
	op        measure.Operator       // nil where the operator is nonlinear
	nonlinear measure.Differentiable // nil where it is linear
	keep      []float32              // pixels that are measured; nil where all are
	y         []float32
}

func (s *subject) forward() measure.Forward {
	if s.op != nil {
		return s.op
	}
	return s.nonlinear
}

func (s *subject) close() {
	if f := s.forward(); f != nil {
		f.Close()
	}
}

// subject makes the operator and measures the request's pixels, unless they were
// measured before.
func (r *request) subject(m prior.Model, pixels, mask, kernel js.Value, measured []float32) (subject, error) {
	s, err := r.operator(m, mask, kernel)
	if s.y = measured; err == nil && measured == nil {
		err = r.measurement(m, &s, pixels)
	}
	if err != nil {
		s.close()
	}
	return s, err
}

// operator makes the operator of the request's task. What is random depends on the
// seed alone, as in the command line tool.
func (r *request) operator(m prior.Model, mask, kernel js.Value) (s subject, err error) {
	dev := m.Device()
	c, h, w := m.Image()
	switch r.Task {
	case "phase":
		s.nonlinear, err = measure.NewPhaseRetrieval(dev, c, h, w, 2)
		return s, err
	case "mask":
		if !mask.Truthy() {
			return s, errors.New(`task "mask" needs a mask`)
		}
		var keep []float32
		for _, v := range bytesOf(mask) {
			keep = append(keep, float32(min(v, 1)))
		}
		s.op, err = measure.NewMask(dev, c, h, w, keep)
	case "kernel":
		if !kernel.Truthy() {
			return s, errors.New(`task "kernel" needs a kernel`)
		}
		s.op, err = r.blur(dev, c, h, w, floatsOf(kernel))
	default:
		seed, err := r.seed()
		if err != nil {
			return s, err
		}
		rng := diffusion.Stream{Seed: seed, Purpose: diffusion.Degradation}.Rand()
		if s.op, err = measure.ForTask(r.Task, dev, c, h, w, rng); err != nil {
			return s, err
		}
	}
	if err == nil {
		s.keep, err = measure.MeasuredPixels(dev, s.op)
	}
	return s, err
}

func (r *request) blur(dev compute.Device, c, h, w int, weights []float32) (measure.Operator, error) {
	border := compute.Reflect
	if r.Border == "circular" {
		border = compute.Circular
	} else if r.Border != "reflect" {
		return nil, fmt.Errorf("unknown border %q: reflect or circular", r.Border)
	}
	wide := make([]float64, len(weights))
	for i, v := range weights {
		wide[i] = float64(v)
	}
	k, err := measure.NewKernel(r.Kernel.Height, r.Kernel.Width, wide)
	if err != nil {
		return nil, err
	}
	return measure.NewBlur(dev, c, h, w, k, border)
}

// measurement fills in y from the request's pixels.
func (r *request) measurement(m prior.Model, s *subject, pixels js.Value) error {
	c, h, w := m.Image()
	if r.Measured {
		if s.nonlinear != nil {
			return fmt.Errorf("a measurement of task %s is no picture: it can't be given as measured", r.Task)
		}
		c, h, w = s.op.Out()
	}
	if r.Pixels.Height != h || r.Pixels.Width != w {
		what := "the model restores pictures"
		if r.Measured {
			what = fmt.Sprintf("a measurement of task %s is", r.Task)
		}
		return fmt.Errorf("the picture is %d×%d pixels, %s of %d×%d: scale or crop it first", r.Pixels.Width, r.Pixels.Height, what, w, h)
	}
	x, err := planes(pixels, c, h*w)
	if err != nil {
		return err
	}
	if r.Measured {
		s.y = x
		for i := range s.y {
			if s.keep != nil {
				s.y[i] *= s.keep[i%len(s.keep)]
			}
		}
		return nil
	}
	seed, err := r.seed()
	if err == nil {
		s.y, err = sdk.Measure(m.Device(), s.forward(), x, r.SigmaY, seed, nil)
	}
	return err
}

// planes is pixels as values of c channels, from a Float32Array of c·plane values or
// from bytes in RGBA.
func planes(pixels js.Value, c, plane int) ([]float32, error) {
	if pixels.InstanceOf(js.Global().Get("Float32Array")) {
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

// level is a byte's value as package picture has it.
func level(v float64) float32 { return float32(v/127.5 - 1) }
