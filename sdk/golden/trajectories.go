package golden

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// recorded is the reference's randomness.
type recorded struct{ initial, noise, probes, method []float32 }

func (r recorded) Initial(x []float32)         { copy(x, r.initial) }
func (r recorded) Step(z []float32, i int)     { copy(z, r.noise[i*len(z):]) }
func (r recorded) Probe(z []float32, i, _ int) { copy(z, r.probes[i*len(z):]) }

func (r recorded) Method(z []float32, i, _ int) { copy(z, r.method[i*len(z):]) }

// sampler is a method of the trajectories.
type sampler struct {
	method func(task string) guide.Method
	ddim   float64 // DDIM's η, negative for DDPM
	// bounds: one step at a time, and free-running at the last step.
	step, free float64
}

var samplers = map[string]sampler{
	"ddpm": {func(string) guide.Method { return guide.Unconditional{} }, -1, 2e-4, 2e-3},
	"ddim": {func(string) guide.Method { return guide.Unconditional{} }, 0.5, 2e-4, 2e-3},
	// The reference keeps the scales of 1000 steps.
	"mcg": {func(string) guide.Method { return guide.MCG{} }, -1, 2e-4, 2e-3},
	// A change of 1e-6 of the start moves DSG's end by up to 3e-2: free runs are reported only.
	"dsg":   {func(string) guide.Method { return guide.DSG{Interval: 1, Rate: 0.2} }, -1, 5e-3, math.Inf(1)},
	"pigdm": {func(task string) guide.Method { return guide.PiGDMFor(task) }, 1, 2e-4, 2e-3},
	"dps":   {func(task string) guide.Method { return guide.DPS{Scale: guide.DPSScale(task, 1000)} }, -1, 2e-4, 2e-3},
}

// trajectoryCases checks trajectories/TASK: every method one step at a time, each
// from the recorded state before it, and running free.
func trajectoryCases(dir fs.FS, o Options) ([]computetest.Case, error) {
	files, err := fs.Glob(dir, "trajectories/*.safetensors")
	if err != nil {
		return nil, err
	}
	var cases []computetest.Case
	for i, file := range files {
		if o.Quick && i > 0 {
			break
		}
		v, _, err := open(dir, file)
		if err != nil {
			return nil, err
		}
		task, before := strings.TrimSuffix(strings.TrimPrefix(file, "trajectories/"), ".safetensors"), len(cases)
		for _, name := range v.Names() {
			run, ok := strings.CutSuffix(name, ".trajectory")
			if !ok {
				continue
			}
			method, _ := strings.CutSuffix(run, "+cmi")
			s, known := samplers[method]
			if !known {
				cases = append(cases, unjudged("trajectory", task+" "+run, fmt.Sprintf("unknown method %q: known are %s", method, strings.Join(slices.Sorted(maps.Keys(samplers)), ", "))))
				continue
			}
			cases = append(cases,
				check("trajectory", task+" "+run+", step by step", s.step, func(ctx context.Context, dev compute.Device) (float64, error) {
					return replay(ctx, dir, v, task, run, dev, true)
				}))
			if !o.Quick {
				cases = append(cases, check("trajectory", task+" "+run+", running free", s.free, func(ctx context.Context, dev compute.Device) (float64, error) {
					return replay(ctx, dir, v, task, run, dev, false)
				}))
			}
		}
		if len(cases) == before {
			cases = append(cases, unjudged("trajectory", task, file+" holds no METHOD.trajectory"))
		}
	}
	return cases, nil
}

// replay is the largest error of a step that starts at the recorded state, or the
// error of the last state of a free run.
func replay(ctx context.Context, dir fs.FS, v *vectors, task, run string, dev compute.Device, stepwise bool) (float64, error) {
	p, err := newProblem(dir, v, task, dev)
	if err != nil {
		return 0, err
	}
	defer p.close()
	var r recorded
	var y []float32
	for name, dst := range map[string]*[]float32{"x_init": &r.initial, "noise": &r.noise, "probes": &r.probes, "measurement_noise": &r.method, "y": &y} {
		if *dst, err = v.values(name); err != nil {
			return 0, err
		}
	}
	want, err := v.values(run + ".trajectory")
	if err != nil {
		return 0, err
	}
	shape, err := v.shape("x_init")
	if err != nil {
		return 0, err
	}
	method, withCMI := strings.CutSuffix(run, "+cmi")
	s := samplers[method]
	options := sdk.Options{Method: s.method(task), Schedule: p.schedule, Variance: diffusion.LearnedRange, Noise: r}
	if s.ddim >= 0 {
		options.DDIM = &s.ddim
	}
	if withCMI {
		options.CMI = &cmi.Options{Eta: 1, Weighting: cmi.Beta, Estimator: cmi.Probe, Probes: 1, Lanczos: 2, MaxAlphaBar: 1, Every: 1,
			TrustStd: 0.2, TrustAncestral: true} // the reference's radius is DDPM's, for pigdm on DDIM too
	}
	solver, err := sdk.NewSolver(sdk.Problem{Prior: p.model, Operator: p.operator, Y: y, N: shape[0], SigmaY: sigmaY}, options)
	if err != nil {
		return 0, err
	}
	defer solver.Close()
	worst, size := 0.0, len(r.initial)
	for k := range steps {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if stepwise && k > 0 {
			if err := solver.SetState(want[(k-1)*size:k*size], steps-1-k); err != nil {
				return 0, err
			}
		}
		if err := solver.Step(); err != nil {
			return 0, err
		}
		if !stepwise && k < steps-1 {
			continue
		}
		x, _, err := solver.State()
		if err != nil {
			return 0, err
		}
		worst = max(worst, relative(x, want[k*size:(k+1)*size]))
	}
	return worst, nil
}
