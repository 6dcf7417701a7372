package experiment

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/job"
)

// An arm that is the base again differs by nothing; another one by what the summary has too; and the
// correction is over the comparisons of one arm.
func TestCompare(t *testing.T) {
	r := runner(t)
	r.SpecOf = func(c Cell) job.Spec {
		if c.CMI == "same" {
			c.CMI = Without
		}
		return c.Spec(r.Spec)
	}
	g := Grid{Tasks: []string{"sr4"}, Methods: []string{"dps"}, CMI: []Term{Without, "same", Term(cmi.Fidelity)}, Names: []string{"a", "b", "c"}, Samples: 2}
	f, err := Open(t.TempDir(), settings, g)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, r.Run(context.Background(), f))
	assert.Equal(t, 3, f.Pictures())
	read := 0
	all, err := f.Compare(context.Background(), brightness{}, 1, func() { read++ })
	require.NoError(t, err)
	assert.Equal(t, f.ComparePictures(), read)
	require.Len(t, all, 2*len(Measures))
	s, err := f.Summarise(1)
	require.NoError(t, err)
	for _, c := range all {
		assert.GreaterOrEqual(t, c.Holm, c.P)
		if c.CMI == "same" {
			assert.Zero(t, c.Better, Measures[c.Measure])
			assert.Equal(t, c.Without, c.With)
			assert.Equal(t, 1.0, c.P)
			continue
		}
		assert.NotZero(t, c.Better, Measures[c.Measure])
		assert.Less(t, c.P, 1.0)
		cell, base := s.cell(c.Cell), s.cell(c.base())
		switch m := c.Measure; {
		case m < 3:
			assert.InDelta(t, cell.Mean[m].Value, c.With, 1e-12)
			assert.InDelta(t, math.Abs(cell.Difference[m].Value), math.Abs(c.Better), 1e-12)
			assert.Equal(t, measures[m].higher == (cell.Difference[m].Value > 0), c.Better > 0)
		case m > 3:
			assert.InDelta(t, cell.Exchangeability[m-4].Value, c.With, 1e-12)
			assert.InDelta(t, base.Exchangeability[m-4].Value, c.Without, 1e-12)
			assert.InDelta(t, math.Abs(math.Log(c.Without))-math.Abs(math.Log(c.With)), c.Better, 1e-12)
		}
	}
	assert.Equal(t, "dps+cmi-fidelity", all[len(all)-1].Arm())
}

// A folder of before the choices reads as it was: true and false.
func TestTermJSON(t *testing.T) {
	for text, term := range map[string]Term{"false": Without, "true": With, `"spread"`: Term(cmi.Spread)} {
		var got Term
		require.NoError(t, got.UnmarshalJSON([]byte(text)))
		assert.Equal(t, term, got)
		back, err := got.MarshalJSON()
		require.NoError(t, err)
		assert.Equal(t, text, string(back))
	}
	assert.Equal(t, Cell{"sr4", "dps", With}, Cell{"sr4", "dps", Term(cmi.Paper)}.published())
	assert.Equal(t, Cell{"sr4", "dps", Term(cmi.Spread)}, Cell{"sr4", "dps", Term(cmi.Spread)}.published())
}
