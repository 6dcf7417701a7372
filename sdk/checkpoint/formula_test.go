package checkpoint

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The constants were computed in Python from the definition, with zlib.crc32.
func TestFormulaValues(t *testing.T) {
	for _, c := range []struct {
		name   string
		k, fan int
		want   float32
	}{
		{"x", 0, 3, 0.7645895481109619},
		{"x", 1, 3, 0.17385801672935486},
		{"x", 196607, 3, -0.44105345010757446},
		{"time_embed.0.weight", 0, 128, 0.13307058811187744},
		{"time_embed.0.weight", 65535, 128, -0.0393989160656929},
		{"input_blocks.0.0.weight", 100, 27, 0.19664834439754486},
		{"out.2.bias", 5, 300, 0.07017845660448074},
		{"out.0.weight", 7, 75, -0.10525082796812057},
	} {
		require.Equal(t, c.want, FormulaValues(c.name, c.k+1, c.fan)[c.k], c.name)
	}
	require.Equal(t, float32(-0.18899017572402954), FormulaValues("features.0.weight", 4, 13.5)[3])
	require.Equal(t, uint64(0xe220a8397b1dcdaf), splitmix64(0))
}

// Values fill ±√(3/fanIn) with variance 1/fanIn.
func TestFormulaDistribution(t *testing.T) {
	var sum, square float64
	values := FormulaValues("any", 1<<16, 12)
	for _, v := range values {
		require.LessOrEqual(t, math.Abs(float64(v)), 0.5)
		sum += float64(v)
		square += float64(v) * float64(v)
	}
	require.InDelta(t, 0, sum/float64(len(values)), 0.005)
	require.InDelta(t, 1.0/12, square/float64(len(values)), 0.001)
}

// The released networks have the published number of parameters, and the rules for
// their tensors hold.
func TestFormulaNetworks(t *testing.T) {
	for network, parameters := range map[string]int{"ffhq": 93_563_910, "imagenet": 552_814_086} {
		raw, err := os.ReadFile(golden + "/full/" + network + ".tensors.json")
		require.NoError(t, err)
		var f Formula
		require.NoError(t, json.Unmarshal(raw, &f))
		total := 0
		for _, name := range f.Names() {
			info, ok := f.Info(name)
			require.True(t, ok)
			total += info.Len()
			if info.Len() < 2000 {
				_, err := f.Floats(name, info.Shape...)
				require.NoError(t, err)
			}
		}
		require.Equal(t, parameters, total)
	}
}

func TestFormulaRules(t *testing.T) {
	var f Source = Formula{"conv.weight": {4, 2, 3, 3}, "norm.weight": {8}, "norm.bias": {8}, "odd": {8}, "gain": {}, "bad.weight": {-1, 2}}
	conv, err := f.Floats("conv.weight", 4, 2, 3, 3)
	require.NoError(t, err)
	require.Equal(t, FormulaValues("conv.weight", 72, 18), conv)
	bias, err := f.Floats("norm.bias", 8)
	require.NoError(t, err)
	require.Equal(t, FormulaValues("norm.bias", 8, 300), bias)
	gain, err := f.Floats("norm.weight", 8)
	require.NoError(t, err)
	for k, v := range FormulaValues("norm.weight", 8, 75) {
		require.Equal(t, 1+v, gain[k])
	}
	for name, want := range map[string]string{"odd": "no rule", "gain": "no rule", "bad.weight": "dimensions ≥ 0", "absent": "no tensor"} {
		_, err := f.Floats(name)
		require.ErrorContains(t, err, want)
	}
	_, err = f.Floats("norm.bias", 4)
	require.ErrorContains(t, err, "has shape [8], wanted [4]")
	require.Empty(t, f.Metadata())
}
