//go:build js

package main

import (
	"context"
	"fmt"
	"syscall/js"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// restore(request, pixels, mask, kernel, onStep) is what engine.ts promises.
func restore(ctx context.Context, e *engine, args []js.Value) (any, error) {
	start := time.Now()
	r, err := readRequest(args[0].String())
	if err != nil {
		return nil, badInput{err}
	}
	if r.PreviewEvery < 0 {
		return nil, badInput{fmt.Errorf("previewEvery is %d, a number from 0 is wanted", r.PreviewEvery)}
	}
	place, err := e.loaded(ctx)
	if err != nil {
		return nil, err
	}
	c, h, w := place.Prior().Image()
	o, err := r.options(place.Prior())
	if err != nil {
		return nil, badInput{err}
	}
	o.Preview = r.PreviewEvery > 0
	method, term := sdk.Passes(o)
	passes, total := 0, method+term
	o.OnStep = func(p sdk.Progress) {
		passes = p.Passes
		if onStep := args[4]; onStep.Type() == js.TypeFunction {
			onStep.Invoke(step(p, total, r.PreviewEvery))
		}
		e.host.breathe()
	}
	var s subject
	x, err := place.Restore(ctx, func(m prior.Model) (p sdk.Problem, release func(), err error) {
		s, err = r.subject(m, args[1], args[2], args[3], s.y)
		return sdk.Problem{Prior: m, Operator: s.op, Nonlinear: s.nonlinear, Y: s.y, N: 1, SigmaY: r.SigmaY}, s.close, err
	}, o)
	if err != nil {
		return nil, e.refused(err)
	}
	oc, oh, ow := s.forward().Out()
	result := map[string]any{
		"image": float32Array(x), "channels": c, "height": h, "width": w,
		"measurement": map[string]any{"data": float32Array(s.y), "channels": oc, "height": oh, "width": ow},
		"passes":      passes, "seconds": time.Since(start).Seconds(),
	}
	if s.keep != nil {
		known := make([]byte, len(s.keep))
		for i, v := range s.keep {
			known[i] = byte(v)
		}
		result["measuredPixels"] = uint8Array(known)
	}
	return result, nil
}

// step is a step's report for JavaScript.
func step(p sdk.Progress, total, previewEvery int) map[string]any {
	out := map[string]any{
		"step": p.Step, "steps": p.Steps, "passes": p.Passes, "totalPasses": max(total, p.Passes),
		"residual": p.Residual[0], "limited": p.Limited > 0,
	}
	if p.Information != nil {
		out["information"], out["gradient"], out["applied"] = p.Information[0], p.Gradient[0], p.Applied[0]
	}
	if p.Preview != nil && (p.Step%previewEvery == 0 || p.Step == p.Steps) {
		out["preview"] = float32Array(p.Preview)
	}
	return out
}
