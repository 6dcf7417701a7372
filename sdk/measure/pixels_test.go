package measure_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

func TestMeasuredPixels(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	keep := []float32{1, 0, 0, 1, 1, 0}
	mask, err := measure.NewMask(dev, 3, 2, 3, keep)
	require.NoError(t, err)
	defer mask.Close()
	got, err := measure.MeasuredPixels(dev, mask)
	require.NoError(t, err)
	require.Equal(t, keep, got)

	all, err := measure.NewIdentity(dev, 3, 2, 3)
	require.NoError(t, err)
	defer all.Close()
	got, err = measure.MeasuredPixels(dev, all)
	require.NoError(t, err)
	require.Nil(t, got)
}
