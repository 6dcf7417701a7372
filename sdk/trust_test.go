package sdk_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

// step takes one step from a state and gives the next.
func step(t *testing.T, p sdk.Problem, o sdk.Options, x []float32, index int) ([]float32, sdk.Progress) {
	t.Helper()
	var report sdk.Progress
	o.OnStep = func(r sdk.Progress) { report = r }
	s := newSolver(t, p, o)
	require.NoError(t, s.SetState(x, index))
	require.NoError(t, s.Step())
	next, _, err := s.State()
	require.NoError(t, err)
	return next, report
}

// The term's part of a step is Applied, in the direction of ∇I; a radius limits it
// exactly, image by image, and the limited ones are counted.
func TestTrustRadius(t *testing.T) {
	const n, dim, index = 3, 8, 6
	p, o := gaussians(t, device(t, 1), n, 10)
	term := *o.CMI
	o.CMI = nil
	s := newSolver(t, p, o)
	for range 10 - 1 - index {
		require.NoError(t, s.Step())
	}
	x, _, err := s.State()
	require.NoError(t, err)
	plain, _ := step(t, p, o, x, index)
	o.Method = guide.Unconditional{}
	unguided, _ := step(t, p, o, x, index)
	o.Method = guide.DPS{Scale: 0.3}
	part := func(a, b []float32, i int) float64 { return distance(a[i*dim:(i+1)*dim], b[i*dim:(i+1)*dim]) }

	var gradient []float64
	for _, weighting := range []cmi.Weighting{cmi.Beta, cmi.Constant} {
		free := term
		free.Weighting, free.Eta = weighting, -0.7
		o.CMI = &free
		next, report := step(t, p, o, x, index)
		assert.NotContains(t, report.Limited, true)
		gradient = report.Gradient
		w := 0.7
		if weighting == cmi.Beta {
			w *= o.Schedule.Beta(index)
		}
		for i := range n {
			assert.InEpsilon(t, w*gradient[i], report.Applied[i], 1e-12)
			assert.InEpsilon(t, report.Applied[i], part(next, plain, i), 1e-3)
		}
	}
	// Opposite weights move to opposite sides.
	up, down := term, term
	up.Eta, down.Eta = 2, -2
	o.CMI = &up
	a, _ := step(t, p, o, x, index)
	o.CMI = &down
	b, _ := step(t, p, o, x, index)
	for i := range a {
		assert.InDelta(t, 2*plain[i], a[i]+b[i], 1e-5)
	}

	std := math.Sqrt(o.Schedule.PosteriorVariance(index) * dim)
	for name, c := range map[string]struct {
		std, guidance float64
	}{"std": {0.2, 0}, "guidance": {0, 0.3}, "both": {0.05, 0.1}} {
		limited := term
		// A weight with which the radius is crossed by the longest gradients only.
		limited.Weighting, limited.TrustStd, limited.TrustGuidance = cmi.Constant, c.std, c.guidance
		radius := make([]float64, n)
		for i := range n {
			radius[i] = limited.Radius(std, part(plain, unguided, i))
		}
		ratio := make([]float64, n)
		longest := 0
		for i := range n {
			if ratio[i] = gradient[i] / radius[i]; ratio[i] > ratio[longest] {
				longest = i
			}
		}
		second := 0.0
		for i, r := range ratio {
			if i != longest {
				second = max(second, r)
			}
		}
		limited.Eta = 2 / (ratio[longest] + second)
		o.CMI = &limited
		next, report := step(t, p, o, x, index)
		assert.Equal(t, 1, shortened(report), name)
		for i := range n {
			want := min(limited.Eta*gradient[i], radius[i])
			assert.InEpsilon(t, want, report.Applied[i], 1e-4, "%s, image %d", name, i)
			assert.InEpsilon(t, want, part(next, plain, i), 1e-3, "%s, image %d", name, i)
		}
		limited.Eta = -1e6
		o.CMI = &limited
		_, report = step(t, p, o, x, index)
		assert.Equal(t, n, shortened(report), name)
		for i := range n {
			assert.InEpsilon(t, radius[i], report.Applied[i], 1e-4)
		}
	}
	// Without guidance a radius in multiples of it leaves nothing, at no cost.
	o.Method, o.CMI = guide.Unconditional{}, &cmi.Options{Eta: 1, Weighting: cmi.Beta, Estimator: cmi.Probe, Probes: 1, MaxAlphaBar: 1, Every: 1, TrustGuidance: 0.5}
	next, report := step(t, p, o, x, index)
	assert.Equal(t, unguided, next)
	assert.Nil(t, report.Applied)
	assert.Equal(t, 1, report.Passes)
}

// Under DDIM the step's standard deviation is DDIM's σ, unless DDPM's is asked for.
func TestTrustRadiusUnderDDIM(t *testing.T) {
	const n, index = 2, 6
	p, o := gaussians(t, device(t, 1), n, 10)
	o.CMI.Weighting, o.CMI.Eta, o.CMI.TrustStd = cmi.Constant, 1e6, 0.2
	x := make([]float32, n*8)
	for i := range x {
		x[i] = float32(i%5)/5 - 0.4
	}
	eta := 0.4
	for _, c := range []struct {
		index     int
		ddim      *float64
		ancestral bool
		std       float64
	}{
		{index, nil, false, math.Sqrt(o.Schedule.PosteriorVariance(index))},
		{index, &eta, true, math.Sqrt(o.Schedule.PosteriorVariance(index))},
		{index, &eta, false, sigma(o, index, eta)},
		{0, &eta, false, sigma(o, 1, eta)}, // the last step adds no noise
	} {
		o.DDIM, o.CMI.TrustAncestral = c.ddim, c.ancestral
		_, report := step(t, p, o, x, c.index)
		for i, applied := range report.Applied {
			want := 0.2 * c.std * math.Sqrt(8)
			assert.Equal(t, c.index > 0, report.Limited[i], "%+v", c)
			if c.index == 0 { // there ∇I is so small that the radius leaves it whole
				require.Less(t, 1e6*report.Gradient[i], want)
				want = 1e6 * report.Gradient[i]
			}
			assert.InDelta(t, want, applied, 1e-5*want, "%+v", c)
		}
	}
	assert.Greater(t, math.Sqrt(o.Schedule.PosteriorVariance(index)), 2*sigma(o, index, eta), "the two differ")

	eta = 0
	o.CMI.TrustAncestral = false
	_, err := sdk.NewSolver(p, o)
	assert.ErrorContains(t, err, "DDIM with eta 0 has none")
	o.CMI.TrustStd, o.CMI.TrustGuidance = 0, 0.25
	_, err = sdk.NewSolver(p, o)
	assert.NoError(t, err)
}

func sigma(o sdk.Options, index int, eta float64) float64 {
	_, _, sigma := o.Schedule.DDIM(index, eta)
	return sigma
}

// shortened returns the number of images whose term the trust radius shortened.
func shortened(p sdk.Progress) (n int) {
	for _, l := range p.Limited {
		if l {
			n++
		}
	}
	return n
}
