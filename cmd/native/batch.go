package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// batch is measurements of one task that are sampled together. A picture does not
// depend on the batch that it is in.
type batch []*measured

// batches cuts measurements into batches of so many.
func batches(all []*measured, size int) (cut []batch) {
	for ; len(all) > size; all = all[size:] {
		cut = append(cut, all[:size])
	}
	return append(cut, all)
}

// apart is the batch without its operators, for another device to make them.
func (b batch) apart() batch {
	all := make(batch, len(b))
	for i, one := range b {
		other := *one
		other.home, other.op, other.nonlinear = nil, nil, nil
		all[i] = &other
	}
	return all
}

// problem is what the sampler is to solve. Its operator belongs to the batch's
// measurements.
func (b batch) problem(m prior.Model, sigmaY float64) (sdk.Problem, error) {
	for _, one := range b {
		if err := one.settle(m); err != nil {
			return sdk.Problem{}, err
		}
	}
	p := sdk.Problem{Prior: m, Operator: b[0].op, Nonlinear: b[0].nonlinear, N: len(b), SigmaY: sigmaY}
	operators := make([]measure.Operator, len(b))
	for i, one := range b {
		p.Y, operators[i] = append(p.Y, one.y...), one.op
	}
	if len(b) == 1 || p.Operator == nil { // a nonlinear task measures all images alike
		return p, nil
	}
	var err error
	p.Operator, err = measure.NewPerImage(operators...)
	return p, err
}

// restore runs the sampler. report gets the passes of one image.
func (b batch) restore(ctx context.Context, place *sdk.Place, o sdk.Options, sigmaY float64, report func(passes int), diagnostics io.Writer) ([]picture.Image, error) {
	o.Images = nil
	for _, one := range b {
		o.Images = append(o.Images, one.number)
	}
	var writeErr error
	o.OnStep = func(p sdk.Progress) {
		report(p.Passes)
		for i, one := range b {
			if diagnostics != nil {
				writeErr = errors.Join(writeErr, writeStep(diagnostics, one.name, p, i))
			}
		}
	}
	x, err := place.Restore(ctx, func(m prior.Model) (sdk.Problem, func(), error) {
		p, err := b.problem(m, sigmaY)
		return p, func() {}, err
	}, o)
	if err = errors.Join(err, writeErr); err != nil {
		return nil, fmt.Errorf("%s: %w", b.name(), err)
	}
	c, h, w := place.Prior().Image()
	out := make([]picture.Image, len(b))
	for i, one := range b {
		out[i] = picture.Image{C: c, H: h, W: w, Pix: x[i*c*h*w : (i+1)*c*h*w], Name: one.name}
	}
	return out, nil
}

// name is for people: the first image and how many more.
func (b batch) name() string {
	if len(b) > 1 {
		return fmt.Sprintf("%s and %d more", b[0].name, len(b)-1)
	}
	return b[0].name
}

// poisson gives DPS the weights of measurements under Poisson noise.
func (b batch) poisson(o sdk.Options) sdk.Options {
	if dps, ok := o.Method.(guide.DPS); ok {
		dps.Weights = nil
		for _, one := range b {
			dps.Weights = append(dps.Weights, measure.PoissonWeight(one.y))
		}
		o.Method = dps
	}
	return o
}

// writeStep writes a step's diagnostics of image i of a batch as a JSON line.
func writeStep(w io.Writer, image string, p sdk.Progress, i int) error {
	line := struct {
		Image       string   `json:"image"`
		Step        int      `json:"step"`
		Passes      int      `json:"passes"`
		Residual    float64  `json:"residual"`
		Information *float64 `json:"information_nats,omitempty"`
		Gradient    *float64 `json:"information_gradient_norm,omitempty"`
		Applied     *float64 `json:"information_applied_norm,omitempty"`
		Limited     bool     `json:"limited"`
	}{Image: image, Step: p.Step, Passes: p.Passes, Residual: p.Residual[i]}
	if p.Information != nil {
		line.Information, line.Gradient, line.Applied = &p.Information[i], &p.Gradient[i], &p.Applied[i]
		line.Limited = p.LimitedOf[i]
	}
	return json.NewEncoder(w).Encode(line)
}
