package computetest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

func TestNetworks(t *testing.T) {
	dev := cpu.New(0)
	defer dev.Close()
	computetest.Run(context.Background(), dev, computetest.Networks(false), func(r computetest.Result) {
		t.Log(r)
		require.True(t, r.Passed, r.String())
	})
}

// flatNorm forgets the curvature of the normalisation.
type flatNorm struct{ *cpu.Device }

func (f flatNorm) GroupNormSecond(dst, x, stats, a, b, ab compute.Tensor, p compute.Norm) {
	f.Device.GroupNormTangent(dst, x, stats, ab, p)
}

func (f flatNorm) GroupNormJet(dst, second, x, stats, a, ab compute.Tensor, p compute.Norm) {
	f.GroupNormTangent(dst, x, stats, a, p)
	f.GroupNormSecond(second, x, stats, a, a, ab, p)
}

func TestNetworksFindAWrongRule(t *testing.T) {
	dev := flatNorm{cpu.New(0)}
	defer dev.Close()
	_, failed, _ := computetest.Run(context.Background(), dev, computetest.Networks(false), nil)
	require.Equal(t, 3, failed, "all second derivatives")
}
