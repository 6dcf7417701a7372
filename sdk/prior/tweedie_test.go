package prior_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/mixture"
)

// At a noise level of its own an image has the Tweedie mean of that level, and there are no derivatives.
func TestAtTimesteps(t *testing.T) {
	dev := cpu.New(1)
	ws := compute.NewWorkspace(dev)
	betas, err := diffusion.LinearBetas(50, 5e-3, 0.1)
	require.NoError(t, err)
	schedule, err := diffusion.New(betas, 50)
	require.NoError(t, err)
	model, err := mixture.NewModel(&mixture.Mixture{Weights: []float64{1, 2}, Means: [][]float64{{1, 0, 0.5}, {-0.3, 0.4, 0}}, Std: 0.4}, diffusion.AlphaBars(betas), dev)
	require.NoError(t, err)
	tweedie := prior.NewTweedie(model)
	t.Cleanup(func() {
		tweedie.Close()
		model.Close()
		ws.Free()
		assert.NoError(t, dev.Close())
	})
	x, mean := ws.FromHost([]float32{0.1, 0.2, 0.3, 0.3, -0.2, 0.1}, 2, 1, 1, 3), ws.New(2, 1, 1, 3)
	require.NoError(t, ws.Err())
	levels := []int{7, 31}
	var want []float32
	for n, level := range levels {
		_, err := tweedie.At(x, schedule, level, mean)
		require.NoError(t, err)
		all, err := compute.ToHost(dev, mean)
		require.NoError(t, err)
		want = append(want, all[3*n:3*n+3]...)
	}
	require.NoError(t, tweedie.AtTimesteps(x, schedule, levels, mean))
	got, err := compute.ToHost(dev, mean)
	require.NoError(t, err)
	assert.InDeltaSlice(t, want, got, 1e-5)
	assert.Equal(t, 3, tweedie.Passes)
	for _, derivative := range []func(compute.Tensor) (compute.Tensor, error){
		tweedie.VJP, tweedie.JVP,
		func(v compute.Tensor) (compute.Tensor, error) { return tweedie.Second(v, v) },
		func(v compute.Tensor) (compute.Tensor, error) { return tweedie.JVPCached(0, v) },
		func(v compute.Tensor) (compute.Tensor, error) {
			return tweedie.SecondAlong(v, [][]float64{{1, 1}})
		},
	} {
		_, err := derivative(x)
		assert.ErrorContains(t, err, "several noise levels")
	}
	assert.Error(t, tweedie.AtTimesteps(x, schedule, []int{1}, mean))
}
