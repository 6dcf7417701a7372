package sdk_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// counting counts the passes that are really asked of a prior, in forwards of its
// batch: 1 for the value, a VJP and each JVP, 2 or 3 for each jet, 1 along cached directions.
type counting struct {
	prior.Model
	forgets bool // hides that its points cache tangents
	passes  int
}

type countingPoint struct {
	prior.Point
	c *counting
}

// cachingPoint is a countingPoint whose prior caches tangents.
type cachingPoint struct{ countingPoint }

func (p cachingPoint) JVPCached(k int, v compute.Tensor) (compute.Tensor, error) {
	p.c.passes++
	return p.Point.(prior.TangentCache).JVPCached(k, v)
}

func (p cachingPoint) SecondCached(coef [][]float64) (compute.Tensor, error) {
	p.c.passes++
	return p.Point.(prior.TangentCache).SecondCached(coef)
}

func (c *counting) At(x compute.Tensor, t []int) (prior.Point, error) {
	p, err := c.Model.At(x, t)
	c.passes++
	if _, ok := p.(prior.TangentCache); ok && !c.forgets {
		return cachingPoint{countingPoint{p, c}}, err
	}
	return countingPoint{p, c}, err
}

func (p countingPoint) VJP(u compute.Tensor) (compute.Tensor, error) {
	p.c.passes++
	return p.Point.VJP(u)
}

func (p countingPoint) JVP(v compute.Tensor) (compute.Tensor, error) {
	p.c.passes += v.N / p.Out().N
	return p.Point.JVP(v)
}

func (p countingPoint) Second(v, w compute.Tensor) (compute.Tensor, error) {
	p.c.passes += 2 * v.N / p.Out().N
	if v != w {
		p.c.passes += v.N / p.Out().N
	}
	return p.Point.Second(v, w)
}

// The passes of a step: 1 unconditional, 2 for DPS, 3 + K with one probe and K ≥ 1.
func TestPasses(t *testing.T) {
	dev := device(t, 2)
	p, o := pictures(t, dev, "sr4", 2, 2)
	counted := &counting{Model: p.Prior}
	p.Prior = counted
	term := *o.CMI
	for name, c := range map[string]struct {
		method guide.Method
		change func(*cmi.Options) // nil without the term
		want   [2]int             // after each step
	}{
		"unconditional":  {guide.Unconditional{}, nil, [2]int{1, 2}},
		"DPS":            {guide.DPS{Scale: 0.5}, nil, [2]int{2, 4}},
		"CMI+DPS, K = 0": {guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Lanczos = 0 }, [2]int{4, 8}},
		"CMI+DPS, K = 1": {guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Lanczos = 1 }, [2]int{4, 8}},
		"CMI+DPS, K = 3": {guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Lanczos = 3 }, [2]int{6, 12}},
		"two probes":     {guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Probes = 2 }, [2]int{8, 16}},
		"first step":     {guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.Last = 1 }, [2]int{5, 7}},
		"last step":      {guide.DPS{Scale: 0.5}, func(o *cmi.Options) { o.First = 2 }, [2]int{2, 7}},
		"term alone":     {guide.Unconditional{}, func(*cmi.Options) {}, [2]int{4, 8}},
	} {
		counted.passes = 0
		o.Method, o.CMI = c.method, nil
		if c.change != nil {
			changed := term
			c.change(&changed)
			o.CMI = &changed
		}
		var reported [2]int
		o.OnStep = func(r sdk.Progress) { reported[r.Step-1] = r.Passes }
		s := newSolver(t, p, o)
		_, err := s.Run(context.Background())
		require.NoError(t, err)
		assert.Equal(t, c.want, reported, name)
		assert.Equal(t, c.want[1], s.Passes(), name)
		assert.Equal(t, c.want[1], counted.passes, "%s: what the network was asked", name)
	}
}

// A prior that caches no tangents gives the same picture for a pass more.
func TestCachedTangents(t *testing.T) {
	dev := device(t, 2)
	p, o := pictures(t, dev, "inpaint", 2, 3)
	o.CMI.Lanczos, o.CMI.Probes = 7, 2 // more directions than Combine takes at once
	cached := restore(t, p, o)
	p.Prior = &counting{Model: p.Prior, forgets: true}
	assert.Less(t, distance(restore(t, p, o), cached), 1e-4*norm(cached))
	s := newSolver(t, p, o)
	require.NoError(t, s.Step())
	assert.Equal(t, 2+2*(7+2), s.Passes())
}

// Every method costs what it says.
func TestPassesOfMethods(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 3)
	counted := &counting{Model: p.Prior}
	p.Prior, o.CMI = counted, nil
	curved, late := guide.Curvature{Weight: 1}, guide.Curvature{Weight: 1, MinAlphaBar: 0.99}
	for _, m := range []guide.Method{
		guide.Unconditional{}, guide.Projection{}, guide.DPS{Scale: 0.3}, guide.DPS{Scale: 0.3, Copies: 5}, guide.MCG{}, guide.DSG{Interval: 1, Rate: 0.2},
		guide.PiGDM{Scale: 1}, guide.PiGDM{Scale: 1, GuidedMean: true, Curvature: curved},
		guide.PiGDM{Scale: 1, Curvature: late}, guide.DSG{Interval: 2, Rate: 0.2},
		guide.Evidence{Scale: 1, Lanczos: 1}, guide.Evidence{Scale: 1, Lanczos: 3},
		guide.MMPS{Lanczos: 2}, guide.DiffPIR{Lambda: 1, Zeta: 0.5}, guide.DDNM{Eta: 0.85}, guide.Gibbs{}, guide.DDRM{Top: 2}, guide.DAPS{Radius: 1, Langevin: 1, StepSize: 1}, guide.DAPS{Langevin: 4, StepSize: 1e-3}, guide.Pathwise{Solve: 1}, guide.Pathwise{Root: 3, Solve: 2, MinAlphaBar: 0.3},
	} {
		counted.passes = 0
		o.Method = m
		plan := sdk.NewPlan(p.Prior, o, p.N)
		want := plan.Passes()
		assert.Zero(t, plan.TermPasses)
		s := newSolver(t, p, o)
		_, err := s.Run(context.Background())
		require.NoError(t, err)
		assert.Equal(t, want, s.Passes(), "%#v", m)
		assert.Equal(t, want, counted.passes, "%#v", m)
	}
}

// The evidence's curvature is one pass along the directions of its Lanczos steps,
// two with a prior that caches no tangents, for the same picture.
func TestCurvatureAlongCachedDirections(t *testing.T) {
	for _, k := range []int{1, 2, 7} {
		p, o := pictures(t, device(t, 2), "sr4", 2, 3)
		o.Method, o.CMI = guide.Evidence{Scale: 1, Lanczos: k, Curvature: guide.Curvature{Weight: 1, MinAlphaBar: 0.03, TrustGuidance: 0.25}}, nil
		counted := &counting{Model: p.Prior}
		p.Prior = counted
		cached := restore(t, p, o)
		want := sdk.NewPlan(p.Prior, o, p.N).Passes()
		assert.Equal(t, want, counted.passes, "K = %d", k)
		forgetful := &counting{Model: counted.Model, forgets: true}
		p.Prior = forgetful
		assert.Less(t, distance(restore(t, p, o), cached), 1e-4*norm(cached), "K = %d", k)
		assert.Equal(t, 2, forgetful.passes-counted.passes, "in two steps of three ᾱ is large enough")
		o.Method = guide.Evidence{Scale: 1, Lanczos: k}
		assert.Greater(t, distance(restore(t, p, o), cached), 1e-3*norm(cached), "the curvature has something to say")
	}
}

// Where a method's state is an image, a step's preview is the image that it made: not the grey that DDRM starts from, and
// at the end the result.
func TestPreviewsOfImages(t *testing.T) {
	for _, m := range []guide.Method{guide.DDRM{Top: 2}, guide.Gibbs{}} {
		p, o := pictures(t, device(t, 1), "sr4", 1, 4)
		o.Method, o.CMI, o.Preview = m, nil, true
		var previews [][]float32
		o.OnStep = func(r sdk.Progress) { previews = append(previews, r.Preview) }
		result := restore(t, p, o)
		require.Len(t, previews, 4)
		assert.Greater(t, slices.Max(previews[0])-slices.Min(previews[0]), float32(0.1), m.Name())
		for i, v := range result {
			require.Equal(t, min(max(v, -1), 1), previews[3][i], m.Name())
		}
		o.OnStep, o.Preview = nil, false
		assert.Equal(t, result, restore(t, p, o), m.Name())
	}
}

// The dense estimators count their passes too.
func TestPassesOfDenseEstimators(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 2)
	counted := &counting{Model: p.Prior}
	p.Prior = counted
	for e, want := range map[cmi.Estimator]int{ // 3 measurements, 8 dimensions, DPS 2
		cmi.Trace: 2 + 3 + 2*3, cmi.TwoDirection: 2 + 3 + 3, cmi.TwoTrace: 2 + 3 + 8 + 3,
	} {
		counted.passes = 0
		o.CMI.Estimator = e
		s := newSolver(t, p, o)
		require.NoError(t, s.Step())
		assert.Equal(t, want, s.Passes(), e)
		assert.Equal(t, want, counted.passes, e)
	}
}

// What a step reports.
func TestProgress(t *testing.T) {
	dev := device(t, 2)
	p, o := pictures(t, dev, "inpaint", 2, 4)
	o.CMI.First, o.CMI.Last = 2, 3
	o.Preview = true
	var reports []sdk.Progress
	o.OnStep = func(r sdk.Progress) { reports = append(reports, r) }
	restore(t, p, o)
	require.Len(t, reports, 4)
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	for i, r := range reports {
		assert.Equal(t, i+1, r.Step)
		assert.Equal(t, 4, r.Steps)
		require.Len(t, r.Residual, 2)
		requireFinite(t, r.Preview)
		require.Len(t, r.Preview, 2*3*16*16)
		for _, v := range r.Preview {
			assert.LessOrEqual(t, math.Abs(float64(v)), 1.0)
		}
		// The residual is that of the preview.
		x := ws.FromHost(r.Preview, 2, 3, 16, 16)
		ax := ws.Like(x)
		require.NoError(t, ws.Err())
		p.Operator.Apply(ax, x)
		host, err := compute.ToHost(dev, ax)
		require.NoError(t, err)
		for n, got := range r.Residual {
			half := len(host) / 2
			assert.InEpsilon(t, distance(p.Y[n*half:(n+1)*half], host[n*half:(n+1)*half]), got, 1e-5)
		}
		if r.Step != 2 && r.Step != 3 {
			assert.Nil(t, r.Information)
			assert.Nil(t, r.Gradient)
			assert.Nil(t, r.Applied)
			assert.Nil(t, r.Limited)
			continue
		}
		for _, values := range [][]float64{r.Information, r.Gradient, r.Applied} {
			require.Len(t, values, 2)
			for _, v := range values {
				assert.Greater(t, v, 0.0)
				assert.False(t, math.IsInf(v, 0))
			}
		}
	}
	assert.Less(t, reports[3].Residual[0], reports[0].Residual[0], "the measurement is approached")

	o.Preview = false
	o.OnStep = func(r sdk.Progress) { assert.Nil(t, r.Preview) }
	restore(t, p, o)
}

// Watching a run does not change it.
func TestWatchingChangesNothing(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 10)
	want := restore(t, p, o)
	o.OnStep, o.Preview = func(sdk.Progress) {}, true
	assert.Equal(t, want, restore(t, p, o))
}

// After ctx ends no further step is taken; the state goes on to the same picture.
func TestCancel(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 10)
	want := restore(t, p, o)
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	o.OnStep = func(r sdk.Progress) {
		if steps++; r.Step == 3 {
			cancel()
		}
	}
	s := newSolver(t, p, o)
	x, err := s.Run(ctx)
	assert.Nil(t, x)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 3, steps)
	got, err := s.Run(context.Background())
	require.NoError(t, err)
	assert.Equal(t, want, got)

	steps = 0
	_, err = sdk.Restore(ctx, p, o)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, steps)
}

// stopping ends a run's context when the third probe of a step is drawn.
type stopping struct {
	kept
	cancel func()
}

func (s *stopping) Probe(z []float32, index, probe int) {
	s.kept.Probe(z, index, probe)
	if probe == 2 {
		s.cancel()
	}
}

// Work that takes many passes in one step ends between two of them, and the state is
// that of the last whole step.
func TestCancelWithinAStep(t *testing.T) {
	p, o := gaussians(t, device(t, 1), 2, 10)
	ctx, cancel := context.WithCancel(context.Background())
	noise := &stopping{kept{steps: map[int][]float32{}, probes: map[[2]int][]float32{}}, cancel}
	o.Noise, o.CMI.Probes = noise, 10000
	s := newSolver(t, p, o)
	before, _, err := s.State()
	require.NoError(t, err)
	_, err = s.Run(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Len(t, noise.probes, 3)
	assert.Equal(t, 2+2*4, s.Passes(), "DPS's two and those of two probes")
	after, index, err := s.State()
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.Equal(t, 9, index)
}

// The published 1000 steps: DPS takes two passes a step, DSG guides every 20th step
// but the last, and one probe with K = 2 costs three more where the term acts.
func TestPlannedPasses(t *testing.T) {
	betas, err := diffusion.Linear(1000)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 1000)
	require.NoError(t, err)
	o := sdk.Options{Schedule: schedule, Method: guide.DPS{Scale: 0.3}}
	assert.Equal(t, 2000, total(o))
	o.Method = guide.DSG{Interval: 20, Rate: 0.2}
	assert.Equal(t, 1000+49, total(o))
	o.Method = guide.Unconditional{}
	o.CMI = &cmi.Options{Probes: 1, Lanczos: 2, MaxAlphaBar: 1, First: 1, Last: 100, Every: 2}
	assert.Equal(t, 1000+50*3, total(o))
}

func total(o sdk.Options) int { return sdk.NewPlan(nil, o, 1).Passes() }

// What a batch tells of one image is that image's.
func TestProgressOf(t *testing.T) {
	p := sdk.Progress{Step: 3, Steps: 9, Images: 2, Passes: 7, Residual: []float64{1, 2}, Preview: []float32{1, 2, 3, 4, 5, 6}}
	assert.Equal(t, sdk.Progress{Step: 3, Steps: 9, Images: 1, Passes: 7, Residual: []float64{2}, Preview: []float32{4, 5, 6}}, p.Of(1))
	p.Information, p.Gradient, p.Applied, p.Limited = []float64{3, 4}, []float64{5, 6}, []float64{7, 8}, []bool{false, true}
	for i, limited := range p.Limited {
		of := p.Of(i)
		assert.Equal(t, []bool{limited}, of.Limited)
		assert.Equal(t, [][]float64{p.Information[i : i+1], p.Gradient[i : i+1], p.Applied[i : i+1]}, [][]float64{of.Information, of.Gradient, of.Applied})
	}
}
