package cmi_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
)

// A choice sets sign and limit and leaves the rest; the signs are what the names say.
func TestChoices(t *testing.T) {
	given := options(cmi.Probe, 5, 3)
	for choice, sign := range map[cmi.Choice]float64{cmi.Paper: 1, cmi.Fidelity: -1, cmi.Spread: 1} {
		o, err := given.Choose(choice)
		require.NoError(t, err)
		assert.Positive(t, sign*o.Eta, choice)
		assert.Positive(t, o.TrustGuidance, choice)
		o.Eta, o.TrustGuidance = given.Eta, given.TrustGuidance
		assert.Equal(t, given, o, choice)
	}
	assert.Len(t, cmi.Choices, 3)
	paper, err := given.Choose(cmi.Paper)
	require.NoError(t, err)
	spread, err := given.Choose(cmi.Spread)
	require.NoError(t, err)
	assert.Greater(t, spread.TrustGuidance, paper.TrustGuidance)
	same, err := given.Choose(cmi.Custom)
	require.NoError(t, err)
	assert.Equal(t, given, same)
	for _, none := range []cmi.Choice{"", cmi.Off, "sharp"} {
		_, err = given.Choose(none)
		assert.ErrorContains(t, err, "known are paper, fidelity, spread")
	}
}
