package sdk_test

import (
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// allocated returns what one call of f allocates on the host when all is warm: how
// often, and how many bytes; the least of three rounds, because the runtime counts
// what others allocate, its own workers on a busy machine above all.
func allocated(t *testing.T, f func() error) (times, bytes float64) {
	t.Helper()
	const calls = 10
	for range 2 {
		require.NoError(t, f())
	}
	times, bytes = math.Inf(1), math.Inf(1)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range calls {
			require.NoError(t, f())
		}
		runtime.ReadMemStats(&after)
		times = min(times, float64(after.Mallocs-before.Mallocs)/calls)
		bytes = min(bytes, float64(after.TotalAlloc-before.TotalAlloc)/calls)
	}
	return times, bytes
}

// Passes of a network and steps of a solver allocate no arrays: what they do
// allocate, lists of terms, one number an image, and the information term's K×K
// matrices, is bounded in bytes, so that one batch of small pictures more would fail.
// The bound of the number of allocations is about twice what they are: it finds one for
// every pixel or channel, and lets the runtime's own, a tenth of one a call, pass.
func TestStepsAllocateNoArrays(t *testing.T) {
	const images = 8
	dev := device(t, 2)
	p, o := pictures(t, dev, "sr4", images, 50)
	c, h, w := p.Prior.Image()
	picture := float64(4 * images * c * h * w)
	check := func(name string, times, most float64, f func() error) {
		t.Run(name, func(t *testing.T) {
			n, bytes := allocated(t, f)
			t.Logf("%.0f allocations, %.0f bytes; a batch of pictures has %.0f", n, bytes, picture)
			assert.LessOrEqual(t, n, times)
			assert.LessOrEqual(t, bytes, most)
			assert.Greater(t, bytes+picture, most, "a batch of pictures more would pass")
		})
	}

	x, err := compute.New(dev, images, c, h, w)
	require.NoError(t, err)
	u, err := compute.New(dev, images, 2*c, h, w)
	require.NoError(t, err)
	at := make([]int, images)
	point, err := p.Prior.At(x, at)
	require.NoError(t, err)
	check("value", 40, 6e3, func() error { _, err := p.Prior.At(x, at); return err })
	check("VJP", 40, 6e3, func() error { _, err := point.VJP(u); return err })
	check("JVP", 40, 6e3, func() error { _, err := point.JVP(x); return err })
	check("second", 40, 6e3, func() error { _, err := point.Second(x, x); return err })
	cache, mix := point.(prior.TangentCache), [][]float64{make([]float64, images)}
	check("second along a cached direction", 40, 6e3, func() error {
		if _, err := cache.JVPCached(0, x); err != nil {
			return err
		}
		_, err := cache.SecondCached(mix)
		return err
	})

	term := o.CMI
	for _, withCMI := range []bool{false, true} {
		name, times, most := "DPS step", 160., 12e3
		o.CMI = nil
		if withCMI {
			name, times, most, o.CMI = "CMI+DPS step", 650, 32e3, term
		}
		s, err := sdk.NewSolver(p, o)
		require.NoError(t, err)
		check(name, times, most, s.Step)
		s.Close()
	}
}
