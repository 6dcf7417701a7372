package experiment

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		assert.Equal(t, float64(passes(o)), c.Passes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Estimate(ctx, r.Place.Prior(), []string{"sr4"}, []string{"dps"}, r.Options, nil)
	assert.ErrorIs(t, err, context.Canceled)
}
