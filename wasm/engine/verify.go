//go:build js && verify

package main

import (
	"context"
	"math"
	"os"
	"syscall/js"
	"testing/fstest"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

func init() {
	functions["verify"] = verify
	// This program looks for mistakes: memory is full of NaN when a device hands it out.
	os.Setenv("CMI_POISON", "on")
}

// verify(names, files, quick, onCase) runs the conformance suite, and the golden
// vectors where files of testdata/golden are given.
func verify(ctx context.Context, e *engine, args []js.Value) (any, error) {
	quick, onCase := args[2].Bool(), args[3]
	reopen := func() (compute.Device, error) { return e.host.openDevice() }
	cases := append(append(computetest.Ops(quick), computetest.Errors(reopen)...), computetest.Networks(quick)...)
	if n := args[0].Length(); n > 0 {
		files := fstest.MapFS{}
		for i := range n {
			files[args[0].Index(i).String()] = &fstest.MapFile{Data: bytesOf(args[1].Index(i))}
		}
		vectors, err := golden.Cases(files, golden.Options{Quick: quick})
		if err != nil {
			return nil, badInput{err}
		}
		cases = append(cases, vectors...)
	}
	passed, failed, skipped := 0, 0, 0
	for i := range cases {
		e.host.breathe()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, f, s := computetest.Run(ctx, e.dev, cases[i:i+1], func(r computetest.Result) {
			if onCase.Type() == js.TypeFunction {
				onCase.Invoke(row(r))
			}
		})
		passed, failed, skipped = passed+p, failed+f, skipped+s
	}
	return map[string]any{"passed": passed, "failed": failed, "skipped": skipped}, nil
}

func row(r computetest.Result) map[string]any {
	out := map[string]any{"group": r.Group, "name": r.Name, "status": "pass", "seconds": r.Duration.Seconds()}
	if !math.IsInf(r.Bound, 0) {
		out["bound"] = r.Bound
	}
	if r.Skipped == "" && !math.IsNaN(r.Error) && !math.IsInf(r.Error, 0) {
		out["error"] = r.Error
	}
	if r.Note != "" {
		out["note"] = r.Note
	}
	switch {
	case r.Skipped != "":
		out["status"], out["note"] = "skip", r.Skipped
	case r.Failure != nil:
		out["status"], out["note"] = "fail", r.Failure.Error()
	case !r.Passed:
		out["status"] = "fail"
	}
	return out
}
