package golden

import (
	"cmp"
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

// recorded is the reference's randomness. method has a list for each draw of a method, the last
// for all further ones: a row for each step, in it an array for each draw.
type recorded struct {
	initial, noise, probes []float32
	method                 [][]float32
}

func (r recorded) Initial(x []float32)         { copy(x, r.initial) }
func (r recorded) Step(z []float32, i int)     { copy(z, r.noise[i*len(z):]) }
func (r recorded) Probe(z []float32, i, _ int) { copy(z, r.probes[i*len(z):]) }

func (r recorded) Method(z []float32, i, draw int) {
	k := min(draw, len(r.method)-1)
	copy(z, r.method[k][i*len(r.method[k])/steps+(draw-k)*len(z):])
}

// sampler is a method of the trajectories.
type sampler struct {
	method func(task string) guide.Method
	ddim   float64 // DDIM's η, negative for DDPM
	// bounds: one step at a time, and free-running at the last step.
	step, free float64
	draws      []string // the vectors of [recorded].method
}

// equation is the sampler of a method whose reference was written from its equations.
func equation(m guide.Method, ddim float64, draws ...string) sampler {
	return sampler{func(string) guide.Method { return m }, ddim, 2e-4, 2e-3, draws}
}

var samplers = map[string]sampler{
	"ddpm": equation(guide.Unconditional{}, -1),
	"ddim": equation(guide.Unconditional{}, 0.5),
	// The reference keeps the scales of 1000 steps.
	"mcg": equation(guide.MCG{}, -1, "measurement_noise"),
	// A change of 1e-6 of the start moves DSG's end by up to 3e-2: free runs are reported only.
	"dsg":   {func(string) guide.Method { return guide.DSG{Interval: 1, Rate: 0.2} }, -1, 5e-3, math.Inf(1), nil},
	"pigdm": {func(task string) guide.Method { return guide.PiGDMFor(task) }, 1, 2e-4, 2e-3, nil},
	"dps":   {func(task string) guide.Method { return guide.DPS{Scale: guide.DPSScale(task, 1000)} }, -1, 2e-4, 2e-3, nil},

	"pathwise":      equation(guide.Pathwise{Root: 2, Solve: 2, MinAlphaBar: 0.03}, 1, "noise_image", "noise_measurement"),
	"gibbs":         equation(guide.Gibbs{}, -1, "noise_image", "noise_measurement", "noise_descent"),
	"daps":          equation(guide.DAPS{Radius: 1, Langevin: 1, StepSize: 1}, -1, "noise_image", "noise_measurement", "noise"),
	"daps_langevin": equation(guide.DAPS{Langevin: 5, StepSize: 1e-3}, -1, "noise", "noise", "noise", "noise_langevin"),
	"ddnm":          equation(guide.DDNM{Eta: 0.85}, -1, "noise"),
	"diffpir":       equation(guide.DiffPIR{Lambda: 2, Zeta: 0.5}, -1, "noise"),
}

// trajectoryCases checks trajectories/TASK and methods/TASK: every method one step at a time,
// each from the recorded state before it, and running free.
func trajectoryCases(dir fs.FS, o Options) (cases []computetest.Case, err error) {
	for _, of := range []struct{ folder, group string }{{"trajectories", "trajectory"}, {"methods", "method"}} {
		some, err := trajectoriesIn(dir, of.folder, of.group, o)
		if err != nil {
			return nil, err
		}
		cases = append(cases, some...)
	}
	return cases, nil
}

func trajectoriesIn(dir fs.FS, folder, group string, o Options) (cases []computetest.Case, err error) {
	files, err := fs.Glob(dir, folder+"/*.safetensors")
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		if o.Quick && i > 0 {
			break
		}
		v, _, err := open(dir, file)
		if err != nil {
			return nil, err
		}
		task, before := strings.TrimSuffix(strings.TrimPrefix(file, folder+"/"), ".safetensors"), len(cases)
		for _, name := range v.Names() {
			run, ok := strings.CutSuffix(name, ".trajectory")
			if !ok {
				continue
			}
			method, _ := strings.CutSuffix(run, "+cmi")
			s, known := samplers[method]
			if !known {
				cases = append(cases, unjudged(group, task+" "+run, fmt.Sprintf("unknown method %q: known are %s", method, strings.Join(slices.Sorted(maps.Keys(samplers)), ", "))))
				continue
			}
			cases = append(cases,
				check(group, task+" "+run+", step by step", s.step, func(ctx context.Context, dev compute.Device) (float64, error) {
					return replay(dir, v, task, run, dev, func(t *trajectory) (float64, error) { return t.stepByStep(ctx) })
				}))
			if !o.Quick {
				cases = append(cases, check(group, task+" "+run+", running free", s.free, func(ctx context.Context, dev compute.Device) (float64, error) {
					return replay(dir, v, task, run, dev, func(t *trajectory) (float64, error) { return t.free(ctx) })
				}))
			}
		}
		if len(cases) == before {
			cases = append(cases, unjudged(group, task, file+" holds no METHOD.trajectory"))
		}
	}
	return cases, nil
}

// trajectory is a recorded run and a solver of the same problem.
type trajectory struct {
	solver *sdk.Solver
	slopes *slopes
	want   []float32 // the recorded states after each step
	size   int       // values of a state
	start  []float32 // x_T
	bounds sampler
}

// replay opens a recorded run and judges it.
func replay(dir fs.FS, v *vectors, task, run string, dev compute.Device, judge func(*trajectory) (float64, error)) (float64, error) {
	p, err := newProblem(dir, v, task, dev)
	if err != nil {
		return 0, err
	}
	defer p.close()
	method, withCMI := strings.CutSuffix(run, "+cmi")
	s := samplers[method]
	r := recorded{method: make([][]float32, len(s.draws))}
	var y, want []float32
	vectors := map[string]*[]float32{"x_init": &r.initial, "noise": &r.noise, "y": &y, run + ".trajectory": &want}
	if withCMI {
		vectors["probes"] = &r.probes
	}
	for name, dst := range vectors {
		if *dst, err = v.values(name); err != nil {
			return 0, err
		}
	}
	for k, name := range s.draws {
		if r.method[k], err = v.values(name); err != nil {
			return 0, err
		}
	}
	shape, err := v.shape("x_init")
	if err != nil {
		return 0, err
	}
	wrapped := &slopes{Method: s.method(task), inside: map[int]bool{}}
	options := sdk.Options{Method: wrapped, Schedule: p.schedule, Variance: diffusion.LearnedRange, Noise: r}
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
	return judge(&trajectory{solver, wrapped, want, len(r.initial), r.initial, s})
}

// before returns the recorded state before step k, the first being 0.
func (t *trajectory) before(k int) []float32 {
	if k == 0 {
		return t.start
	}
	return t.want[(k-1)*t.size : k*t.size]
}

// step takes step k from x and returns the next state and its error.
func (t *trajectory) step(k int, x []float32) (next []float32, e float64, err error) {
	if err := t.solver.SetState(x, steps-1-k); err != nil {
		return nil, 0, err
	}
	if err := t.solver.Step(); err != nil {
		return nil, 0, err
	}
	next, _, err = t.solver.State()
	return next, relative(next, t.want[k*t.size:(k+1)*t.size]), err
}

// stepByStep returns the largest error of a step that starts at the recorded state.
func (t *trajectory) stepByStep(ctx context.Context) (float64, error) {
	worst := 0.0
	for k := range steps {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		clear(t.slopes.inside)
		_, e, err := t.step(k, t.before(k))
		if err == nil && e > t.bounds.step {
			_, e, err = t.eitherSlope(k, t.before(k), e)
		}
		if err != nil {
			return 0, err
		}
		worst = max(worst, e)
	}
	return worst, nil
}

// mostAmbiguous bounds the values that eitherSlope tries.
const mostAmbiguous = 32

// eitherSlope takes step k from x with the slopes of the clamp that bring it nearest to the
// recorded next state: where |x̂0| is within rounding of 1, the derivative of the clamp is 1
// or 0 by the rounding of the program that computes it, and either is right. Each such
// value is tried by itself, the others being left as they are found best.
func (t *trajectory) eitherSlope(k int, x []float32, e float64) (next []float32, best float64, err error) {
	best = e
	for _, i := range slices.Clone(t.slopes.ambiguous) {
		better, choice := false, false
		for _, inside := range []bool{true, false} {
			t.slopes.inside[i] = inside
			_, e, err := t.step(k, x)
			if err != nil {
				return nil, 0, err
			}
			if e < best {
				best, better, choice = e, true, inside
			}
		}
		if t.slopes.inside[i] = choice; !better {
			delete(t.slopes.inside, i)
		}
	}
	return t.step(k, x)
}

// free returns the error of the last state of a run that starts at x_T. A run that misses its
// bound is taken once more with the slopes of the clamp at the recorded states: what
// differs by rounding may lie on the other side of ±1.
func (t *trajectory) free(ctx context.Context) (e float64, err error) {
	for _, asRecorded := range []bool{false, true} {
		x := t.start
		for k := range steps {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			clear(t.slopes.inside)
			if asRecorded {
				if err := t.recordedSlopes(k); err != nil {
					return 0, err
				}
			}
			if x, e, err = t.step(k, x); err != nil {
				return 0, err
			}
		}
		if e <= t.bounds.free {
			break
		}
	}
	return e, nil
}

// recordedSlopes makes the slopes of step k those at the recorded state, where they are
// not certain those that lead to the recorded next one.
func (t *trajectory) recordedSlopes(k int) error {
	_, e, err := t.step(k, t.before(k))
	if err != nil {
		return err
	}
	sides := map[int]bool{}
	for i, v := range t.slopes.x0 {
		sides[i] = math.Abs(float64(v)) < 1
	}
	if _, _, err := t.eitherSlope(k, t.before(k), e); err != nil {
		return err
	}
	maps.Copy(sides, t.slopes.inside)
	t.slopes.inside = sides
	return nil
}

// slopes is a method under which the derivative of the clamp of x̂0 to [−1, 1] can be
// chosen for each value of the batch.
type slopes struct {
	guide.Method
	inside    map[int]bool // chosen: true takes the slope 1, false 0
	x0        []float32    // x̂0 of the last step, as the sampler found it
	ambiguous []int        // values of it within rounding of ±1, the nearest first
}

// Step implements [guide.Method]. It moves the chosen values of x̂0, by no more than their
// distance from ±1, to the side of ±1 that has the slope.
func (s *slopes) Step(st *guide.Step) error {
	x0, err := compute.ToHost(st.Device, st.X0)
	if err != nil {
		return err
	}
	x, err := compute.ToHost(st.Device, st.X)
	if err != nil {
		return err
	}
	s.x0, s.ambiguous = slices.Clone(x0), nil
	// x̂0 is cxt·x_t + ceps·ε, whose terms are rounded by the device's unit, ε by the
	// many sums of a network.
	cxt, ceps := st.Schedule.Tweedie(st.Index)
	unit := 64 * max(st.Device.Info().Rounding, 1.0/(1<<24))
	distance := func(i int) float64 { return math.Abs(math.Abs(float64(s.x0[i])) - 1) }
	for i := range x0 {
		if distance(i) <= unit*(math.Abs(cxt*float64(x[i]))+math.Abs(ceps)) {
			s.ambiguous = append(s.ambiguous, i)
		}
	}
	slices.SortStableFunc(s.ambiguous, func(a, b int) int { return cmp.Compare(distance(a), distance(b)) })
	s.ambiguous = s.ambiguous[:min(len(s.ambiguous), mostAmbiguous)]
	if len(s.inside) == 0 {
		return s.Method.Step(st)
	}
	for i, inside := range s.inside {
		size := math.Abs(float64(x0[i]))
		if inside && size >= 1 {
			size = 1 - 1.0/(1<<24)
		} else if !inside && size <= 1 {
			size = 1 + 1.0/(1<<23)
		}
		x0[i] = float32(math.Copysign(size, float64(x0[i])))
	}
	st.Device.Write(st.X0, x0)
	return s.Method.Step(st)
}
