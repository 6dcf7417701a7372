//go:build js

package main

import (
	"context"
	"syscall/js"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// restore(request, pixels, mask, kernel, onStep) is what engine.ts promises.
func restore(ctx context.Context, e *engine, args []js.Value) (any, error) {
	start := time.Now()
	r, err := readRequest(args[0].String())
	if err != nil {
		return nil, badInput{err}
	}
	place, err := e.loaded(ctx)
	if err != nil {
		return nil, err
	}
	var j *job.Job
	if err := place.Do(ctx, func(m prior.Model) error {
		image, err := r.image(m, args[1], args[2], args[3])
		if err == nil {
			j, err = job.New(m, r.Spec, image)
		}
		return err
	}); err != nil {
		return nil, e.refused(err)
	}
	passes := 0
	j.Options.Preview = r.PreviewEvery > 0
	j.Options.OnStep = func(p sdk.Progress) {
		passes = p.Passes
		if onStep := args[4]; onStep.Type() == js.TypeFunction {
			onStep.Invoke(step(p, j.Plan.Passes(), r.PreviewEvery))
		}
		e.host.breathe()
	}
	restored, err := j.Run(ctx, place)
	if err != nil {
		return nil, e.refused(err)
	}
	x, y := restored[0], j.Measurements[0]
	result := map[string]any{
		"image": float32Array(x.Pix), "channels": x.C, "height": x.H, "width": x.W,
		"measurement": map[string]any{"data": float32Array(y.Y), "channels": y.C, "height": y.H, "width": y.W},
		"passes":      passes, "seconds": time.Since(start).Seconds(),
	}
	if y.Known != nil {
		known := make([]byte, len(y.Known))
		for i, v := range y.Known {
			known[i] = byte(v)
		}
		result["measuredPixels"] = uint8Array(known)
	}
	return result, nil
}

// step returns a step's report for JavaScript.
func step(p sdk.Progress, total, previewEvery int) map[string]any {
	out := map[string]any{
		"step": p.Step, "steps": p.Steps, "passes": p.Passes, "totalPasses": max(total, p.Passes),
		"residual": p.Residual[0], "limited": p.Limited != nil && p.Limited[0],
	}
	if p.Information != nil {
		out["information"], out["gradient"], out["applied"] = p.Information[0], p.Gradient[0], p.Applied[0]
	}
	if p.Preview != nil && (p.Step%previewEvery == 0 || p.Step == p.Steps) {
		out["preview"] = float32Array(p.Preview)
	}
	return out
}
