package checkpoint

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the writer writes, the reader reads: names, shapes, types, values, metadata.
func TestSafetensorsRoundTrip(t *testing.T) {
	tensors := []Content{
		{Tensor: Tensor{"half", F16, []int{3, 1}}, Floats: []float32{1, -2.5, 65504}},
		{Tensor: Tensor{"single", F32, []int{2, 2}}, Floats: []float32{1e-40, -1e38, 0, 3}},
		{Tensor: Tensor{"scalar", F32, nil}, Floats: []float32{7}},
		{Tensor: Tensor{`a "name" <ü>`, I64, []int{2}}, Ints: []int64{math.MinInt64, 5}},
		{Tensor: Tensor{"empty", F32, []int{0, 3}}},
	}
	metadata := map[string]string{"channel_mult": "1,1,2,4", "note": "<ü>\n"}
	var first, second bytes.Buffer
	require.NoError(t, WriteSafetensors(&first, tensors, metadata))
	require.NoError(t, WriteSafetensors(&second, tensors, metadata))
	require.Equal(t, first.Bytes(), second.Bytes())
	f, err := open(first.Bytes())
	require.NoError(t, err)
	require.Equal(t, metadata, f.Metadata())
	require.Len(t, f.Names(), len(tensors))
	for _, want := range tensors {
		info, ok := f.Info(want.Name)
		require.True(t, ok)
		require.Equal(t, want.DType, info.DType)
		require.Equal(t, append([]int{}, want.Shape...), append([]int{}, info.Shape...))
		require.Zero(t, f.tensors[want.Name].at%itemSize[want.DType], "aligned")
		if want.DType == I64 {
			ints, err := f.Ints(want.Name, want.Shape...)
			require.NoError(t, err)
			require.Equal(t, want.Ints, ints)
			continue
		}
		floats, err := f.Floats(want.Name, want.Shape...)
		require.NoError(t, err)
		require.Equal(t, append([]float32{}, want.Floats...), floats)
	}
}

func TestSafetensorsWriterRefuses(t *testing.T) {
	one := []float32{1}
	for want, tensors := range map[string][]Content{
		"value 0: 70000 does not fit F16":    {{Tensor: Tensor{"w", F16, []int{1}}, Floats: []float32{70000}}},
		"value 1: NaN is not a finite":       {{Tensor: Tensor{"w", F32, []int{2}}, Floats: []float32{1, float32(math.NaN())}}},
		"shape [2] does not hold 1 values":   {{Tensor: Tensor{"w", F32, []int{2}}, Floats: one}},
		"shape [-1 -1] does not hold":        {{Tensor: Tensor{"w", F32, []int{-1, -1}}, Floats: one}},
		`"w" is taken`:                       {{Tensor: Tensor{"w", F32, nil}, Floats: one}, {Tensor: Tensor{"w", F32, nil}, Floats: one}},
		`"__metadata__" is taken`:            {{Tensor: Tensor{"__metadata__", F32, nil}, Floats: one}},
		`type "F64" can not be written`:      {{Tensor: Tensor{"w", F64, nil}, Floats: one}},
		`type "" can not be written, use F3`: {{Tensor: Tensor{Name: "w"}, Floats: one}},
		"value 0: 128 does not fit I8":       {{Tensor: Tensor{"w", I8, []int{1}}, Ints: []int64{128}}},
	} {
		require.ErrorContains(t, WriteSafetensors(&bytes.Buffer{}, tensors, nil), want)
	}
	require.ErrorIs(t, WriteSafetensors(fullDisk{}, []Content{{Tensor: Tensor{"w", F32, nil}, Floats: one}}, nil), errFull)
}

// 8-bit weights come back within half a step of their output's scale, zeros as zeros, and their scale is no tensor of its own.
func TestQuantizedRoundTrip(t *testing.T) {
	tensor := Tensor{"conv.weight", F32, []int{4, 3, 2}}
	values := []float32{
		1, -2, 0.5, 0.25, 127, -127, // scale 1: exact but for the ties 0.5 → 0 and 0.25
		1e-3, 2e-3, -3e-3, 4e-3, 5e-3, -6e-3,
		0, 0, 0, 0, 0, 0,
		1e-9, -1e-9, 0, 1e-10, 0, 0, // the scale is 0
	}
	weights, scale, err := Quantize(tensor, values)
	require.NoError(t, err)
	require.Equal(t, []int64{1, -2, 0, 0, 127, -127}, weights.Ints[:6])
	var out bytes.Buffer
	require.NoError(t, WriteSafetensors(&out, []Content{weights, scale, {Tensor: Tensor{"out_scale", F32, []int{1}}, Floats: []float32{3}}}, nil))
	f, err := open(out.Bytes())
	require.NoError(t, err)
	require.Equal(t, []string{"out_scale", "conv.weight"}, f.Names())
	info, _ := f.Info("conv.weight")
	require.Equal(t, Tensor{"conv.weight", I8, []int{4, 3, 2}}, info)
	got, err := f.Floats("conv.weight", 4, 3, 2)
	require.NoError(t, err)
	for i, v := range values {
		row := i / 6
		require.InDelta(t, v, got[i], float64(scale.Floats[row])*0.5+1e-9, "value %d", i)
		require.Equal(t, float32(weights.Ints[i])*scale.Floats[row], got[i])
	}
	_, err = f.Floats("conv.weight", 24)
	require.ErrorContains(t, err, `"conv.weight" has shape [4 3 2], wanted [24]`)
	_, _, err = Quantize(tensor, values[1:])
	require.ErrorContains(t, err, "shape [4 3 2] for 23 values")
	_, _, err = Quantize(Tensor{"w", F32, []int{1}}, []float32{1e9})
	require.ErrorContains(t, err, "does not fit F16")
}

func TestQuantizedScaleIsChecked(t *testing.T) {
	weights := Content{Tensor: Tensor{"w", I8, []int{2, 1}}, Ints: []int64{1, 2}}
	for want, scale := range map[string]Content{
		`"w_scale": F32 of shape [3], wanted F32 or F16 with 2 values`:   {Tensor: Tensor{"w_scale", F32, []int{3}}, Floats: []float32{1, 2, 3}},
		`"w_scale": I64 of shape [2 1], wanted F32 or F16 with 2 values`: {Tensor: Tensor{"w_scale", I64, []int{2, 1}}, Ints: []int64{1, 2}},
	} {
		var out bytes.Buffer
		require.NoError(t, WriteSafetensors(&out, []Content{weights, scale}, nil))
		_, err := open(out.Bytes())
		require.ErrorContains(t, err, want)
	}
	var out bytes.Buffer
	require.NoError(t, WriteSafetensors(&out, []Content{weights, {Tensor: Tensor{"w_scale", F32, []int{2}}, Floats: []float32{1, 2.5}}}, nil))
	infinite := bytes.Replace(out.Bytes(), []byte{0, 0, 0x20, 0x40}, []byte{0, 0, 0x80, 0x7f}, 1)
	f, err := open(infinite)
	require.NoError(t, err)
	_, err = f.Floats("w")
	require.ErrorContains(t, err, `"w_scale": value 1 is +Inf`)
	out.Reset()
	require.NoError(t, WriteSafetensors(&out, []Content{weights}, nil))
	f, err = open(out.Bytes())
	require.NoError(t, err)
	_, err = f.Floats("w")
	require.ErrorContains(t, err, `"w" is I8, wanted one of`)
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// Every binary16 number survives the way to float32 and back, and rounding goes to
// the nearest, ties to even: checked at both ends of each gap and in its middle.
func TestHalf(t *testing.T) {
	for bits := range uint16(0x7c00) {
		v := fromHalf(bits)
		back, ok := toHalf(v)
		require.True(t, ok)
		require.Equal(t, bits, back)
		back, ok = toHalf(-v)
		require.True(t, ok)
		require.Equal(t, bits|0x8000, back)

		middle := (v + fromHalf(bits+1)) / 2 // exact in float32
		if bits == 0x7bff {
			middle = 65520 // the next number would be 65536
		}
		below, ok := toHalf(math.Nextafter32(middle, 0))
		require.True(t, ok)
		require.Equal(t, bits, below)
		if bits == 0x7bff {
			_, ok = toHalf(middle)
			require.False(t, ok)
			continue
		}
		above, _ := toHalf(math.Nextafter32(middle, 1e6))
		require.Equal(t, bits+1, above)
		tie, _ := toHalf(middle)
		require.Equal(t, bits+bits&1, tie)
	}
	require.Equal(t, float32(0x1p-14), fromHalf(0x0400))
	require.Equal(t, float32(1), fromHalf(0x3c00))
	require.True(t, math.IsInf(float64(fromHalf(0xfc00)), -1))
	require.True(t, math.IsNaN(float64(fromHalf(0x7e00))))
	for _, v := range []float64{math.Inf(1), math.NaN(), -65520} {
		_, ok := toHalf(float32(v))
		require.False(t, ok, v)
	}
}
