package sdk_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// What NewSolver refuses, and how it says so.
func TestNewSolverErrors(t *testing.T) {
	dev := device(t, 1)
	p, o := gaussians(t, dev, 2, 5)
	other, err := measure.NewIdentity(dev, 1, 1, 7)
	require.NoError(t, err)
	defer other.Close()
	long, err := diffusion.Linear(1000)
	require.NoError(t, err)
	schedule, err := diffusion.New(long, 5)
	require.NoError(t, err)
	nan, inf := math.NaN(), math.Inf(1)
	y := func(v float64) []float32 { return []float32{1, 2, float32(v), 4, 5, 6} }
	for says, change := range map[string]func(p *sdk.Problem, o *sdk.Options){
		"a prior, ":   func(p *sdk.Problem, _ *sdk.Options) { p.Prior = nil },
		"an operator": func(p *sdk.Problem, _ *sdk.Options) { p.Operator = nil },
		"an operator is needed by the method unconditional, by the information term": func(p *sdk.Problem, o *sdk.Options) {
			p.Operator, p.Y, o.Method = nil, nil, guide.Unconditional{}
		},
		"need 0 values, got 6":                              func(p *sdk.Problem, o *sdk.Options) { p.Operator, o.Method, o.CMI = nil, guide.Unconditional{}, nil },
		"is not linear: use method dps":                     func(p *sdk.Problem, _ *sdk.Options) { p.Operator = nonlinear{p.Operator} },
		"dense has no gradient, which the method dps needs": func(p *sdk.Problem, o *sdk.Options) { p.Operator, o.CMI = opaque{p.Operator}, nil },
		"method":     func(_ *sdk.Problem, o *sdk.Options) { o.Method = nil },
		"a schedule": func(_ *sdk.Problem, o *sdk.Options) { o.Schedule = nil },
		"images of 1×1×7, the prior's are 1×1×8": func(p *sdk.Problem, _ *sdk.Options) { p.Operator = other },
		"need 6 values, got 5":                   func(p *sdk.Problem, _ *sdk.Options) { p.Y = p.Y[:5] },
		"need 9 values, got 6":                   func(p *sdk.Problem, _ *sdk.Options) { p.N = 3 },
		"0 measurements":                         func(p *sdk.Problem, _ *sdk.Options) { p.N, p.Y = 0, nil },
		"-1 measurements":                        func(p *sdk.Problem, _ *sdk.Options) { p.N = -1 },
		"value 2 is NaN":                         func(p *sdk.Problem, _ *sdk.Options) { p.Y = y(nan) },
		"value 2 is +Inf":                        func(p *sdk.Problem, _ *sdk.Options) { p.Y = y(inf) },
		"noise is 0":                             func(p *sdk.Problem, _ *sdk.Options) { p.SigmaY = 0 },
		"noise is -1":                            func(p *sdk.Problem, _ *sdk.Options) { p.SigmaY = -1 },
		"noise is NaN":                           func(p *sdk.Problem, _ *sdk.Options) { p.SigmaY = nan },
		"noise is +Inf":                          func(p *sdk.Problem, _ *sdk.Options) { p.SigmaY = inf },
		"timestep 999, the prior knows 0 to 99":  func(_ *sdk.Problem, o *sdk.Options) { o.Schedule = schedule },
		"no learned variance":                    func(_ *sdk.Problem, o *sdk.Options) { o.Variance = diffusion.LearnedRange },
		"this prior has none: leave it out":      func(_ *sdk.Problem, o *sdk.Options) { o.Method = guide.DiffPIR{Lambda: 1, Zeta: 1, Learned: 100} },
		`unknown variance ""`:                    func(_ *sdk.Problem, o *sdk.Options) { o.Variance = "" },
		"1 image numbers for 2 images":           func(_ *sdk.Problem, o *sdk.Options) { o.Images = []uint64{3} },
		"0 probes":                               func(_ *sdk.Problem, o *sdk.Options) { o.CMI = &cmi.Options{Weighting: cmi.Beta, Estimator: cmi.Probe} },
		"DDIM's eta is -0.1, 0 to 1 is wanted":   func(_ *sdk.Problem, o *sdk.Options) { o.DDIM = ptr(-0.1) },
		"DDIM's eta is 1.1, 0 to 1 is wanted":    func(_ *sdk.Problem, o *sdk.Options) { o.DDIM = ptr(1.1) },
		"such as 0.005":                          func(p *sdk.Problem, _ *sdk.Options) { p.SigmaY = 0 },
		"dsg steers the noise of a step, and DDIM with eta 0 has none: take an eta above 0": func(_ *sdk.Problem, o *sdk.Options) {
			o.Method, o.DDIM = guide.DSGFor("sr4", 50), ptr(0)
		},
		"by 0 Lanczos steps, 1 to 1000 are wanted": func(_ *sdk.Problem, o *sdk.Options) {
			o.Method = guide.Named["evidence"](guide.Settings{})
		},
		"the method gibbs draws its state anew from an image": func(_ *sdk.Problem, o *sdk.Options) {
			term := cmi.Defaults()
			o.Method, o.CMI = guide.Gibbs{}, &term
		},
		"DDIM's eta is NaN, 0 to 1 is wanted": func(_ *sdk.Problem, o *sdk.Options) { o.DDIM = ptr(nan) },
	} {
		p, o := p, o
		change(&p, &o)
		s, err := sdk.NewSolver(p, o)
		if assert.ErrorContains(t, err, says) {
			assert.NotContains(t, err.Error(), "\n")
			assert.Nil(t, s)
			_, restoreErr := sdk.Restore(context.Background(), p, o)
			assert.Equal(t, err, restoreErr)
			assert.Equal(t, err, p.Validate(o))
		}
	}
	for _, eta := range []float64{0, 0.5, 1} {
		o.DDIM = &eta
		restore(t, p, o)
	}
}

// opaque hides all of an operator but what it measures.
type opaque struct{ measure.Operator }

// nonlinear hides that an operator is linear.
type nonlinear struct{ measure.Operator }

func (n nonlinear) VJP(dst, x, u compute.Tensor) { measure.VJP(n.Operator, dst, x, u) }

// A nonlinear operator that is in truth a linear one restores the same picture.
func TestNonlinearOperator(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 5)
	o.CMI = nil
	o.OnStep = func(r sdk.Progress) { assert.Len(t, r.Residual, 2) }
	linear := p.Operator
	for _, m := range []guide.Method{guide.Unconditional{}, guide.DPS{Scale: 0.3}, guide.DPS{Scale: 0.3, Copies: 2}, guide.DSG{Interval: 1, Rate: 0.2}} {
		o.Method, p.Operator = m, linear
		want := restore(t, p, o)
		p.Operator = nonlinear{linear}
		assert.Equal(t, want, restore(t, p, o), m.Name())
	}
	for _, m := range []guide.Method{guide.MCG{}, guide.Projection{}, guide.PiGDM{Scale: 1}, guide.Evidence{Scale: 1, Lanczos: 1}} {
		o.Method = m
		assert.ErrorContains(t, p.Validate(o), "is not linear", m.Name())
	}
}

// Without an operator a run draws from the prior: what it draws with one that no method
// looks at, without residuals.
func TestNothingMeasured(t *testing.T) {
	p, o := pictures(t, device(t, 1), "sr4", 2, 3)
	o.Method, o.CMI, o.Preview = guide.Unconditional{}, nil, true
	want := restore(t, p, o)
	p.Operator, p.Y, p.SigmaY = nil, nil, 0
	o.OnStep = func(r sdk.Progress) {
		assert.Nil(t, r.Residual)
		assert.Equal(t, r.Preview[len(r.Preview)/2:], r.Of(1).Preview)
	}
	assert.Equal(t, want, restore(t, p, o))
}

func ptr(v float64) *float64 { return &v }

// A run that leaves the numbers is an error that says what to lower, never a NaN.
func TestDivergence(t *testing.T) {
	dev := device(t, 2)
	for name, change := range map[string]func(o *sdk.Options){
		"scale 1e39":        func(o *sdk.Options) { o.Method = guide.DPS{Scale: 1e39} },
		"scale 1e300":       func(o *sdk.Options) { o.Method = guide.DPS{Scale: 1e300} },
		"scale NaN":         func(o *sdk.Options) { o.Method = guide.DPS{Scale: math.NaN()} },
		"negative infinity": func(o *sdk.Options) { o.Method = guide.DPS{Scale: math.Inf(-1)} },
		"weight 1e300": func(o *sdk.Options) {
			o.CMI = &cmi.Options{Eta: 1e300, Weighting: cmi.Constant, Estimator: cmi.Probe, Probes: 1, Lanczos: 1, MaxAlphaBar: 1, Every: 1}
		},
	} {
		for kind, problem := range map[string]func() (sdk.Problem, sdk.Options){
			"network": func() (sdk.Problem, sdk.Options) { return pictures(t, dev, "sr4", 1, 2) },
			"mixture": func() (sdk.Problem, sdk.Options) { return gaussians(t, dev, 1, 2) },
		} {
			p, o := problem()
			o.CMI = nil
			change(&o)
			x, err := sdk.Restore(context.Background(), p, o)
			assert.Nil(t, x, "%s, %s", name, kind)
			assert.ErrorContains(t, err, "step 1 of 2", "%s, %s", name, kind)
		}
	}
	// Between usual and hopeless: numbers or an error.
	for _, scale := range []float64{1e2, 1e5, 1e10, 1e15, 1e20, 1e30, 1e37} {
		for _, clip := range []bool{false, true} {
			p, o := pictures(t, dev, "sr4", 1, 3)
			o.Method, o.NoClip = guide.DPS{Scale: scale}, !clip
			if x, err := sdk.Restore(context.Background(), p, o); err == nil {
				requireFinite(t, x)
			} else {
				assert.Regexp(t, "^step [123] of 3: ", err.Error())
			}
		}
	}
}

// faulty is a prior that fails, or predicts NaN, at the n-th call of a method.
type faulty struct {
	prior.Model
	method string
	left   int
	nan    bool // instead of an error
}

var errPrior = errors.New("the prior is broken")

func (f *faulty) call(method string, of func() (compute.Tensor, error)) (compute.Tensor, error) {
	out, err := of()
	if method != f.method {
		return out, err
	}
	if f.left--; f.left >= 0 {
		return out, err
	}
	if f.nan {
		f.Device().Combine(out, compute.Times(math.NaN(), out))
		return out, err
	}
	return compute.Tensor{}, errPrior
}

func (f *faulty) At(x compute.Tensor, t []int) (prior.Point, error) {
	p, err := f.Model.At(x, t)
	if err == nil {
		_, err = f.call("At", func() (compute.Tensor, error) { return p.Out(), nil })
	}
	return faultyPoint{p, f}, err
}

type faultyPoint struct {
	prior.Point
	f *faulty
}

func (p faultyPoint) VJP(u compute.Tensor) (compute.Tensor, error) {
	return p.f.call("VJP", func() (compute.Tensor, error) { return p.Point.VJP(u) })
}

func (p faultyPoint) JVP(v compute.Tensor) (compute.Tensor, error) {
	return p.f.call("JVP", func() (compute.Tensor, error) { return p.Point.JVP(v) })
}

func (p faultyPoint) Second(v, w compute.Tensor) (compute.Tensor, error) {
	return p.f.call("Second", func() (compute.Tensor, error) { return p.Point.Second(v, w) })
}

// A prior's failure ends the run with its error and the step; a NaN it predicts ends
// it too, and no step's report holds one.
func TestFaultyPrior(t *testing.T) {
	dev := device(t, 1)
	for _, method := range []string{"At", "VJP", "JVP", "Second"} {
		for left := range 4 {
			for _, nan := range []bool{false, true} {
				p, o := gaussians(t, dev, 2, 5)
				o.NoClip = false
				p.Prior = &faulty{p.Prior, method, left, nan}
				reports := 0
				o.OnStep = func(r sdk.Progress) {
					reports++
					for _, v := range [][]float64{r.Residual, r.Information, r.Gradient, r.Applied} {
						for _, x := range v {
							assert.False(t, math.IsNaN(x), "%s", method)
						}
					}
				}
				x, err := sdk.Restore(context.Background(), p, o)
				assert.Nil(t, x)
				if !nan {
					assert.ErrorIs(t, err, errPrior, "%s, call %d", method, left)
				}
				calls := 1
				if method == "JVP" {
					calls = 2
				}
				assert.Regexp(t, "^step [1-4] of 5: ", err, "%s, call %d, NaN %v", method, left, nan)
				assert.Equal(t, left/calls, reports, "%s, call %d, NaN %v", method, left, nan)
			}
		}
	}
}

// A prediction that is not a number is noticed where nothing but a clamp sees it.
func TestPredictionThatIsNotFinite(t *testing.T) {
	dev := device(t, 1)
	eta := 0.0
	for name, change := range map[string]func(o *sdk.Options){
		"clipped":             func(*sdk.Options) {},
		"not clipped":         func(o *sdk.Options) { o.NoClip = true },
		"DDIM":                func(o *sdk.Options) { o.DDIM = &eta },
		"clipped, one step":   func(o *sdk.Options) { o.Schedule = oneStep(t) },
		"clipped and watched": func(o *sdk.Options) { o.OnStep = func(sdk.Progress) {} },
	} {
		p, o := gaussians(t, dev, 1, 3)
		o.Method, o.CMI, o.NoClip = guide.Unconditional{}, nil, false
		change(&o)
		p.Prior = &faulty{p.Prior, "At", 0, true}
		_, err := sdk.Restore(context.Background(), p, o)
		assert.Error(t, err, name)
	}
}

func oneStep(t *testing.T) *diffusion.Schedule {
	betas, err := diffusion.LinearBetas(100, 1e-3, 0.1)
	require.NoError(t, err)
	s, err := diffusion.New(betas, 1)
	require.NoError(t, err)
	return s
}

func TestMeasureErrors(t *testing.T) {
	dev := device(t, 1)
	p, _ := gaussians(t, dev, 1, 2)
	for _, c := range []struct {
		x      []float32
		sigma  float64
		images []uint64
	}{
		{nil, 0.1, nil}, {make([]float32, 7), 0.1, nil}, {make([]float32, 12), 0.1, nil}, {make([]float32, 8), 0.1, []uint64{1, 2}},
		{make([]float32, 8), 0.1, []uint64{}}, {make([]float32, 8), math.NaN(), nil}, {make([]float32, 8), -1, nil},
	} {
		_, err := sdk.Measure(dev, p.Operator, c.x, c.sigma, 1, c.images)
		assert.Error(t, err, "%+v", c)
	}
	// Image numbers key the noise: one image of a batch is that image alone.
	x := make([]float32, 3*8)
	all, err := sdk.Measure(dev, p.Operator, x, 0.1, 1, []uint64{4, 5, 6})
	require.NoError(t, err)
	one, err := sdk.Measure(dev, p.Operator, x[:8], 0.1, 1, []uint64{5})
	require.NoError(t, err)
	assert.Equal(t, all[3:6], one)
}

func TestDefaults(t *testing.T) {
	dev := device(t, 1)
	n := network(t, dev)
	o, err := sdk.Defaults(n, "sr4", 50)
	require.NoError(t, err)
	assert.Equal(t, 50, o.Schedule.Len())
	assert.Equal(t, 999, o.Schedule.Timestep(49))
	assert.Equal(t, diffusion.LearnedRange, o.Variance)
	assert.Equal(t, guide.DPS{Scale: 6, Limit: 0.5}, o.Method)
	assert.Nil(t, o.CMI)
	o, err = sdk.Defaults(n, "box", 50)
	require.NoError(t, err)
	assert.Equal(t, guide.DPS{Scale: 10, Limit: 0.5}, o.Method)
	p, _ := gaussians(t, dev, 1, 2)
	assert.Equal(t, diffusion.FixedSmall, sdk.VarianceOf(p.Prior))
	for _, steps := range []int{0, -1, 1001} {
		_, err = sdk.Defaults(n, "sr4", steps)
		assert.Error(t, err, "%d steps", steps)
	}
}
