package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
)

// The file has the prior's tensors, metadata and values within half a step of each output's scale; what is sensitive is as it was.
func TestConvert(t *testing.T) {
	from, err := faces64.Open()
	require.NoError(t, err)
	file, err := convert(from, []string{"out.2.weight"})
	require.NoError(t, err)
	require.Less(t, len(file), 3_500_000)
	to, err := checkpoint.Read(bytes.NewReader(file), int64(len(file)), "small")
	require.NoError(t, err)
	require.Equal(t, from.Metadata(), to.Metadata())
	require.ElementsMatch(t, from.Names(), to.Names())
	in8bits := 0
	for _, name := range from.Names() {
		want, err := from.Floats(name)
		require.NoError(t, err)
		info, _ := from.Info(name)
		got, err := to.Floats(name, info.Shape...)
		require.NoError(t, err)
		as, _ := to.Info(name)
		if as.DType == checkpoint.F16 {
			require.Equal(t, want, got, name)
			continue
		}
		require.Equal(t, checkpoint.I8, as.DType, name)
		in8bits += len(got)
		rows := info.Shape[0]
		for r := range rows {
			row := want[r*len(want)/rows : (r+1)*len(want)/rows]
			top := float32(0)
			for _, v := range row {
				top = max(top, v, -v)
			}
			for i, v := range row {
				require.InDelta(t, v, got[r*len(want)/rows+i], float64(top)/127*0.51+1e-9, "%s, output %d", name, r)
			}
		}
	}
	require.Greater(t, in8bits, 3_300_000)
	last, _ := to.Info("out.2.weight")
	require.Equal(t, checkpoint.F16, last.DType)
	_, err = convert(from, []string{"out.9.weight"})
	require.ErrorContains(t, err, `-f16 names "out.9.weight"`)
}
