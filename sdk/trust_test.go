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
		assert.Zero(t, report.Limited)
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
		assert.Equal(t, 1, report.Limited, name)
		for i := range n {
			want := min(limited.Eta*gradient[i], radius[i])
			assert.InEpsilon(t, want, report.Applied[i], 1e-4, "%s, image %d", name, i)
			assert.InEpsilon(t, want, part(next, plain, i), 1e-3, "%s, image %d", name, i)
		}
		limited.Eta = -1e6
		o.CMI = &limited
		_, report = step(t, p, o, x, index)
		assert.Equal(t, n, report.Limited, name)
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
