package experiment

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEstimate(t *testing.T) {
	r := runner(t)
	costs, err := Estimate(context.Background(), r.Place.Prior(), []string{"sr4", "box"}, []string{"dps", "dsg"}, r.Spec, nil)
	require.NoError(t, err)
	require.Len(t, costs, 4)
	for _, c := range costs {
		assert.Positive(t, c.Seconds)
		assert.Equal(t, float64(passes(t, r, Cell{"box", c.Method, c.CMI})), c.Passes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Estimate(ctx, r.Place.Prior(), []string{"sr4"}, []string{"dps"}, r.Spec, nil)
	assert.ErrorIs(t, err, context.Canceled)
}
