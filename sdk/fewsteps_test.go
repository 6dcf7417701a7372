package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/guide"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// DPS in 20 steps finds the face. With ζ·1000/N alone its first step leaves the range
// of pictures and there is no way back: an error twice as large and more.
func TestDPSInFewSteps(t *testing.T) {
	dev := device(t, 0)
	weights, err := faces64.Open()
	require.NoError(t, err)
	m, err := unet.Load(dev, weights, nil)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	face, err := faces.Load(1)
	require.NoError(t, err)
	truth := face[0].Pix
	op, err := measure.NewSuperResolution(dev, 3, 64, 64, 4)
	require.NoError(t, err)
	t.Cleanup(op.Close)
	y, err := sdk.Measure(dev, op, truth, sigmaY, 1, nil)
	require.NoError(t, err)
	p := sdk.Problem{Prior: m, Operator: op, Y: y, N: 1, SigmaY: sigmaY}
	o, err := sdk.Defaults(m, "sr4", 20)
	require.NoError(t, err)
	o.Seed = 1
	found := distance(restore(t, p, o), truth)
	assert.Less(t, found, 0.3*norm(truth))

	unlimited := o.Method.(guide.DPS)
	unlimited.Limit = 0
	o.Method = unlimited
	assert.Greater(t, distance(restore(t, p, o), truth), 2*found)
}
