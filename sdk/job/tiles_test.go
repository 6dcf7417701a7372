package job_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/prior/tiles"
)

// What is extended is cut back to what it was; the extension mirrors the last row and column.
func TestReflectAndCrop(t *testing.T) {
	pix := []float32{1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6} // 2 planes of 2×3
	big := job.Reflect(pix, 2, 2, 3, 4, 6)
	assert.Equal(t, []float32{1, 2, 3, 2, 1, 2, 4, 5, 6, 5, 4, 5, 1, 2, 3, 2, 1, 2, 4, 5, 6, 5, 4, 5}, big[:24])
	assert.Equal(t, float32(-1), big[24])
	assert.Equal(t, pix, job.Crop(big, 2, 4, 6, 2, 3))
	assert.Equal(t, []float32{7, 7, 7, 7}, job.Reflect([]float32{7}, 1, 1, 1, 2, 2))
}

// A run by windows keeps within the memory that it may take, by computing fewer at once.
func TestTilesKeepWithinMemory(t *testing.T) {
	base, _ := network(t)
	s := short("sr4", "dps")
	memory := func(w job.Windows) (int64, int) {
		m, err := s.Tiles(base, 40, 48, 1, w)
		require.NoError(t, err)
		defer m.Close()
		o, err := s.Options(m)
		require.NoError(t, err)
		p := sdk.NewPlan(m, o, 1)
		return p.Memory + job.Held(base), m.(*tiles.Model).PassCost(1).Again
	}
	all, again := memory(job.Windows{})
	require.Zero(t, again, "activations are kept")
	less, again := memory(job.Windows{Memory: all / 2})
	assert.LessOrEqual(t, less, all/2)
	assert.NotZero(t, again)
	least, _ := memory(job.Windows{Memory: 1})
	one, _ := memory(job.Windows{AtOnce: 1})
	assert.Equal(t, one, least)
}

// The factor between measurement and image, and the channels of what is read.
func TestReduction(t *testing.T) {
	base, _ := network(t)
	for _, c := range []struct {
		task             string
		measured         bool
		factor, channels int
	}{{"sr4", false, 4, 3}, {"sr4", true, 4, 3}, {"blur", true, 1, 3}, {"colourise", true, 1, 1}, {"colourise", false, 1, 3}, {"mask", true, 1, 3}} {
		s := short(c.task, "dps")
		s.Measured = c.measured
		factor, channels, err := s.Reduction(base)
		require.NoError(t, err, c.task)
		assert.Equal(t, [2]int{c.factor, c.channels}, [2]int{factor, channels}, "%s, measured %v", c.task, c.measured)
	}
}
