package experiment

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/guide"
)

func TestEstimate(t *testing.T) {
	r := runner(t)
	costs, err := Estimate(context.Background(), r.Place.Prior(), []string{"sr4", "box"}, []string{"dps", "dsg"}, r.Options, nil)
	require.NoError(t, err)
	require.Len(t, costs, 4)
	for _, c := range costs {
		assert.Positive(t, c.Seconds)
		o, err := r.Options(Cell{"box", c.Method, c.CMI})
		require.NoError(t, err)
		assert.Equal(t, float64(Passes(o)), c.Passes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Estimate(ctx, r.Place.Prior(), []string{"sr4"}, []string{"dps"}, r.Options, nil)
	assert.ErrorIs(t, err, context.Canceled)
}

// The published 1000 steps: DPS takes two passes a step, DSG guides every 20th step
// but the last, and one probe with K = 2 costs three more where the term acts.
func TestPasses(t *testing.T) {
	betas, err := diffusion.Linear(1000)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 1000)
	require.NoError(t, err)
	o := sdk.Options{Schedule: schedule, Method: guide.DPS{Scale: 0.3}}
	assert.Equal(t, 2000, Passes(o))
	o.Method = guide.DSG{Interval: 20, Rate: 0.2}
	assert.Equal(t, 1000+49, Passes(o))
	o.Method = guide.Unconditional{}
	o.CMI = &cmi.Options{Probes: 1, Lanczos: 2, MaxAlphaBar: 1, First: 1, Last: 100, Every: 2}
	assert.Equal(t, 1000+50*3, Passes(o))
}
