package computetest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
)

// A device that rounds has wider bounds for convolutions and networks alone, and only
// as wide as it rounds.
func TestRounded(t *testing.T) {
	cases := append(computetest.Ops(true), computetest.Networks(false)...)
	assert.Equal(t, len(cases), len(computetest.Rounded(cases, compute.Info{})))
	rounded := computetest.Rounded(cases, compute.Info{Rounding: 0x1p-11})
	for i, c := range cases {
		got, name := rounded[i].Bound, c.Group+" "+c.Name
		switch {
		case c.Bound == 0:
			assert.Zero(t, got, name)
		case c.Group == "conv" || c.Group == "conv-adjoint" || c.Group == "conv-identity":
			assert.Equal(t, 0x1p-11, got, name)
		case c.Group == "network":
			assert.LessOrEqual(t, got, 0x1p-8, name)
			assert.Greater(t, got, c.Bound, name)
		default:
			assert.Equal(t, c.Bound, got, name)
		}
		assert.Equal(t, c.Bound, computetest.Rounded(cases, compute.Info{})[i].Bound, name)
	}
}
