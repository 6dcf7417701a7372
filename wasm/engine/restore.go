//go:build js

package main

import (
	"context"
	"syscall/js"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
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
	all := make([][]float32, r.Samples) // each c·h·w
	passes, onStep := 0, args[4]
	var j *job.Job
	var cut frame
	for k := range all {
		if err := place.Do(ctx, func(m prior.Model) (err error) {
			j, cut, err = r.job(m, k, args[1], args[2], args[3])
			return err
		}); err != nil {
			return nil, e.refused(err)
		}
		before := passes
		j.Options.Preview = r.PreviewEvery > 0
		j.Options.OnStep = func(p sdk.Progress) {
			passes = before + p.Passes
			if onStep.Type() == js.TypeFunction {
				one := step(p, r.PreviewEvery, cut)
				one["sample"], one["samples"] = k+1, r.Samples
				one["passes"], one["totalPasses"] = passes, max(before+(r.Samples-k)*j.Plan.Passes(), passes)
				onStep.Invoke(one)
			}
			e.host.breathe()
		}
		restored, err := j.Run(ctx, place)
		if err != nil {
			return nil, e.refused(err)
		}
		all[k] = cut.image(restored[0].C, restored[0].Pix)
	}
	result := measured(j, cut)
	result["image"], result["channels"], result["height"], result["width"] = float32Array(all[0]), len(all[0])/(cut.h*cut.w), cut.h, cut.w
	result["cmi"] = string(cmi.Off)
	if term, err := j.Spec.CMI.For(j.Spec.Method); err != nil {
		return nil, err
	} else if term.On {
		result["cmi"] = string(term.Choice)
	}
	result["passes"], result["seconds"] = passes, time.Since(start).Seconds()
	if r.Samples > 1 {
		estimate, err := certainty.Of(all)
		if err != nil {
			return nil, err
		}
		samples := make([]any, r.Samples)
		for k, x := range all {
			samples[k] = float32Array(x)
		}
		result["samples"], result["mean"], result["std"] = samples, float32Array(estimate.Mean), float32Array(estimate.Std)
	}
	return result, nil
}

// measureOnly is measure(request, pixels, mask, kernel): it degrades a picture as restore does, and no more.
func measureOnly(ctx context.Context, e *engine, args []js.Value) (any, error) {
	r, err := readRequest(args[0].String())
	if err != nil {
		return nil, badInput{err}
	}
	place, err := e.loaded(ctx)
	if err != nil {
		return nil, err
	}
	var result map[string]any
	err = place.Do(ctx, func(m prior.Model) error {
		j, cut, err := r.job(m, 0, args[1], args[2], args[3])
		if err == nil {
			result = measured(j, cut)
		}
		return err
	})
	return result, e.refused(err)
}

// measured returns a job's measurement for JavaScript.
func measured(j *job.Job, cut frame) map[string]any {
	y := cut.measurement(j.Measurements[0])
	result := map[string]any{"measurement": map[string]any{"data": float32Array(y.Y), "channels": y.C, "height": y.H, "width": y.W}}
	if y.Known != nil {
		known := make([]byte, len(y.Known))
		for i, v := range y.Known {
			known[i] = byte(v)
		}
		result["measuredPixels"] = uint8Array(known)
	}
	return result
}

// step returns a step's report for JavaScript.
func step(p sdk.Progress, previewEvery int, cut frame) map[string]any {
	out := map[string]any{"step": p.Step, "steps": p.Steps, "residual": p.Residual[0], "limited": p.Limited != nil && p.Limited[0]}
	if p.Information != nil {
		out["information"], out["gradient"], out["applied"] = p.Information[0], p.Gradient[0], p.Applied[0]
	}
	if p.ESS != nil {
		out["ess"], out["logEvidence"] = p.ESS[0], p.LogEvidence[0]
	}
	if p.Preview != nil && (p.Step%previewEvery == 0 || p.Step == p.Steps) {
		out["preview"] = float32Array(cut.image(len(p.Preview)/(cut.paddedH*cut.paddedW), p.Preview))
	}
	return out
}
