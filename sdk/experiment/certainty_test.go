package experiment_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
)

// A bar for each rank, a mark for each stratum, and a line where everything would be right.
func TestCertaintyPlots(t *testing.T) {
	const blue, orange, right = "#0072B2", "#D55E00", "#828282"
	data, err := experiment.RanksPlot([]int{3, 1, 0, 2})
	require.NoError(t, err)
	assert.Equal(t, 4, strings.Count(string(data), "fill:"+blue), "%s", data)
	assert.Equal(t, 1, strings.Count(string(data), "stroke:"+right))

	data, err = experiment.CoveragePlot([]float64{.5, .9}, [][]certainty.Stratum{
		{{Width: .1, Coverage: .4}, {Width: .2, Coverage: .6}, {Width: .4, Coverage: .7}}, {{Width: .3, Coverage: .8}, {Width: .5, Coverage: .9}, {Width: .9, Coverage: .95}},
	})
	require.NoError(t, err)
	for _, colour := range []string{blue, orange} {
		assert.Equal(t, 3, strings.Count(string(data), "fill:"+colour))
		assert.Equal(t, 1, strings.Count(string(data), "stroke:"+colour))
	}
	assert.Equal(t, 2, strings.Count(string(data), "stroke:"+right))
}
