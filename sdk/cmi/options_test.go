package cmi_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
)

func TestValidate(t *testing.T) {
	require.NoError(t, cmi.Defaults().Validate())
	nan, inf := math.NaN(), math.Inf(1)
	for name, c := range map[string]struct {
		change func(*cmi.Options)
		says   string // empty where it is valid
	}{
		"negative eta":          {func(o *cmi.Options) { o.Eta = -2 }, ""},
		"eta zero":              {func(o *cmi.Options) { o.Eta = 0 }, ""},
		"eta NaN":               {func(o *cmi.Options) { o.Eta = nan }, "eta is NaN"},
		"eta infinite":          {func(o *cmi.Options) { o.Eta = -inf }, "eta is -Inf"},
		"constant weighting":    {func(o *cmi.Options) { o.Weighting = cmi.Constant }, ""},
		"no weighting":          {func(o *cmi.Options) { o.Weighting = "" }, `weighting ""`},
		"trace":                 {func(o *cmi.Options) { o.Estimator = cmi.Trace }, ""},
		"unknown estimator":     {func(o *cmi.Options) { o.Estimator = "guess" }, `estimator "guess"`},
		"no probes":             {func(o *cmi.Options) { o.Probes = 0 }, "0 probes"},
		"too many probes":       {func(o *cmi.Options) { o.Probes = 10001 }, "10001 probes"},
		"no steps":              {func(o *cmi.Options) { o.Lanczos = 0 }, ""},
		"negative steps":        {func(o *cmi.Options) { o.Lanczos = -1 }, "-1 Lanczos steps"},
		"too many steps":        {func(o *cmi.Options) { o.Lanczos = 1001 }, "1001 Lanczos steps"},
		"empty window":          {func(o *cmi.Options) { o.MinAlphaBar = 1 }, "1 to 1"},
		"window upside down":    {func(o *cmi.Options) { o.MinAlphaBar, o.MaxAlphaBar = 0.5, 0.2 }, "0.5 to 0.2"},
		"window below zero":     {func(o *cmi.Options) { o.MinAlphaBar = -0.1 }, "-0.1"},
		"window above one":      {func(o *cmi.Options) { o.MaxAlphaBar = 1.1 }, "1.1"},
		"window NaN":            {func(o *cmi.Options) { o.MinAlphaBar = nan }, "NaN"},
		"window to NaN":         {func(o *cmi.Options) { o.MaxAlphaBar = nan }, "NaN"},
		"first step only":       {func(o *cmi.Options) { o.First, o.Last = 1, 1 }, ""},
		"first after last":      {func(o *cmi.Options) { o.First, o.Last = 5, 4 }, "from step 5 to 4"},
		"open end":              {func(o *cmi.Options) { o.First, o.Last = 5, 0 }, ""},
		"negative first":        {func(o *cmi.Options) { o.First = -1 }, "step -1"},
		"negative last":         {func(o *cmi.Options) { o.Last = -1 }, "to -1"},
		"never":                 {func(o *cmi.Options) { o.Every = 0 }, "every 0"},
		"no radius":             {func(o *cmi.Options) { o.TrustStd, o.TrustGuidance = 0, 0 }, ""},
		"negative radius":       {func(o *cmi.Options) { o.TrustStd = -1 }, "-1"},
		"radius NaN":            {func(o *cmi.Options) { o.TrustStd = nan }, "NaN"},
		"guidance radius NaN":   {func(o *cmi.Options) { o.TrustGuidance = nan }, "NaN"},
		"negative guidance too": {func(o *cmi.Options) { o.TrustGuidance = -1e-9 }, "-1e-09"},
	} {
		o := cmi.Defaults()
		c.change(&o)
		err := o.Validate()
		if c.says == "" {
			assert.NoError(t, err, name)
			continue
		}
		if assert.Error(t, err, name) {
			assert.Contains(t, err.Error(), c.says, name)
			assert.NotContains(t, err.Error(), "\n", name)
		}
		_, newErr := cmi.New(nil, nil, 1, o)
		assert.Equal(t, err, newErr, "New refuses the same: %s", name)
	}
}

func TestActive(t *testing.T) {
	all := cmi.Options{MaxAlphaBar: 1, Every: 1}
	for _, c := range []struct {
		name   string
		o      cmi.Options
		active []int // of the steps 1 to 12, alpha-bar 0.05 at the first, 0.6 at the last
	}{
		{"everywhere", all, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		{"every third", cmi.Options{MaxAlphaBar: 1, Every: 3}, []int{1, 4, 7, 10}},
		{"from, to", cmi.Options{MaxAlphaBar: 1, Every: 1, First: 4, Last: 6}, []int{4, 5, 6}},
		{"every third from", cmi.Options{MaxAlphaBar: 1, Every: 3, First: 5}, []int{5, 8, 11}},
		{"last only", cmi.Options{MaxAlphaBar: 1, Every: 1, Last: 2}, []int{1, 2}},
		{"window, ends included", cmi.Options{MinAlphaBar: 0.15, MaxAlphaBar: 0.3, Every: 1}, []int{3, 4, 5, 6}},
		{"window and every second", cmi.Options{MinAlphaBar: 0.15, MaxAlphaBar: 0.3, Every: 2}, []int{3, 5}},
		{"the whole noise", cmi.Options{MinAlphaBar: 0.7, MaxAlphaBar: 1, Every: 1}, nil},
	} {
		var got []int
		for step := 1; step <= 12; step++ {
			if c.o.Active(step, float64(step*5)/100) {
				got = append(got, step)
			}
		}
		assert.Equal(t, c.active, got, c.name)
	}
}

func TestWeightAndRadius(t *testing.T) {
	o := cmi.Options{Eta: -3, Weighting: cmi.Beta}
	assert.InDelta(t, -0.06, o.Weight(0.02), 1e-15)
	o.Weighting = cmi.Constant
	assert.InDelta(t, -3, o.Weight(0.02), 1e-15)

	for _, c := range []struct{ trustStd, trustGuidance, std, guidance, want float64 }{
		{0, 0, 2, 3, math.Inf(1)},
		{0.5, 0, 2, 3, 1},
		{0, 0.5, 2, 3, 1.5},
		{0.5, 0.5, 2, 3, 1},
		{1, 0.5, 2, 3, 1.5},
		{0, 0.5, 2, 0, 0}, // no guidance, no term
		{0.5, 0, 0, 3, 0},
	} {
		o := cmi.Options{TrustStd: c.trustStd, TrustGuidance: c.trustGuidance}
		assert.Equal(t, c.want, o.Radius(c.std, c.guidance), "%+v", c)
	}
}
