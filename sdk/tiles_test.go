package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/prior/tiles"
)

// A run on tiles takes the passes that are planned for it, also in parts, whose pictures are
// the same, and an image does not depend on the images beside it.
func TestTiles(t *testing.T) {
	base := network(t, device(t, 2))
	_, h, w := base.Image()
	run := func(method guide.Method, term bool, particles, atOnce, n int) (sdk.Plan, []float32) {
		m, err := tiles.New(base, h+8, 2*w, tiles.Options{Seed: 1, AtOnce: atOnce})
		require.NoError(t, err)
		defer m.Close()
		p, o := picturesOf(t, m, "sr4", n, 3)
		o.Particles = particles
		if o.Method = method; !term {
			o.CMI = nil
		}
		s, err := sdk.NewSolver(p, o)
		require.NoError(t, err)
		defer s.Close()
		x, err := s.Run(t.Context())
		require.NoError(t, err)
		plan := sdk.NewPlan(m, o, n)
		assert.Equal(t, plan.Passes(), s.Passes(), "%s with %d windows at once", method.Name(), atOnce)
		return plan, x
	}
	for _, c := range []struct {
		method guide.Method
		term   bool
		of     int // particles
		whole  int // passes of a window
		parts  int // where activations are not kept
	}{
		{guide.DiffPIR{Lambda: 1, Zeta: 0.5}, false, 0, 3, 3},
		{guide.DDRM{Top: 2}, false, 0, 2, 2}, // none at x_T, one a step but the last
		{guide.DPS{Scale: 0.5}, false, 0, 3 * 2, 3 * 3},
		{guide.DPS{Scale: 0.5}, false, 2, 2 * (2*2 + 1), 2 * (2*3 + 1)}, // the last step is the prior's own
		{guide.DPS{Scale: 0.5}, true, 0, 3 * (2 + 3), 3 * (3 + 7)},      // K = 2: 2 and 1 passes, or 2·2 and 3
	} {
		plan, want := run(c.method, c.term, c.of, 0, 1)
		assert.Equal(t, c.whole*6, plan.Passes())
		less, got := run(c.method, c.term, c.of, 2, 1)
		assert.Equal(t, c.parts*6, less.Passes())
		assert.InDeltaSlice(t, want, got, 1e-3)
		assert.Less(t, less.Memory, plan.Memory)
		_, two := run(c.method, c.term, c.of, 5, 2)
		assert.InDeltaSlice(t, want, two[:len(want)], 1e-3)
	}
}
