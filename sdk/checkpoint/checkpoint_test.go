package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const golden = "../../testdata/golden"

// Every network of the golden vectors loads with all values finite, in every format.
func TestGoldenNetworks(t *testing.T) {
	formats := map[string]string{"pt": PyTorchZip, "half-pt": PyTorchZip, "legacy-pt": PyTorchLegacy, "safetensors": Safetensors}
	paths, err := filepath.Glob(golden + "/unet/*/model.*")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range append(paths, golden+"/tiny16/model.pt") {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			var config struct {
				FileFormat    string `json:"file_format"`
				ModelChannels int    `json:"model_channels"`
			}
			raw, err := os.ReadFile(filepath.Join(filepath.Dir(path), "config.json"))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(raw, &config))
			f, err := Open(path)
			require.NoError(t, err)
			defer f.Close()
			if config.FileFormat != "" {
				require.Equal(t, formats[config.FileFormat], f.Format())
			}
			halves, bytes := 0, int64(0)
			for _, name := range f.Names() {
				info, ok := f.Info(name)
				require.True(t, ok)
				values, err := f.Floats(name, info.Shape...)
				require.NoError(t, err)
				require.Len(t, values, info.Len())
				var square float64
				for _, v := range values {
					square += float64(v) * float64(v)
				}
				require.Less(t, square/float64(len(values)), 10.0, "%s is not a weight's size: misread bytes", name)
				if info.DType == F16 {
					halves++
				}
				bytes += int64(info.Len()) * itemSize[info.DType]
			}
			require.Equal(t, config.FileFormat == "half-pt", halves > 0)
			require.Greater(t, float64(bytes), 0.9*float64(f.size), "tensors make up the file")
			c := config.ModelChannels
			_, err = f.Floats("time_embed.0.weight", 4*c, c)
			require.NoError(t, err)
		})
	}
}

// Every safetensors file of the golden vectors passes the strict header rules.
func TestGoldenVectors(t *testing.T) {
	count := 0
	require.NoError(t, filepath.WalkDir(golden, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".safetensors" {
			return err
		}
		count++
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, readAll(data), path)
		return nil
	}))
	require.Greater(t, count, 5)
}

// The schedule's vectors keep double precision.
func TestGoldenSchedule(t *testing.T) {
	f, err := Open(golden + "/schedule.safetensors")
	require.NoError(t, err)
	defer f.Close()
	beta, err := f.Float64s("linear.1000.beta", 1000)
	require.NoError(t, err)
	require.InDelta(t, 1e-4, beta[0], 1e-18)
	require.InDelta(t, 0.02, beta[999], 1e-16)
	steps, err := f.Ints("linear.20.timesteps", 20)
	require.NoError(t, err)
	require.EqualValues(t, 999, steps[19])
}

// Files that Python's pickler wrote with protocols 2 to 5 hold the values that
// testdata/make.py put in: all types, views that share a storage, nesting.
func TestPyTorchFiles(t *testing.T) {
	quarters := func(k ...float32) []float32 {
		for i := range k {
			k[i] /= 4
		}
		return k
	}
	want := []struct {
		name   string
		shape  []int
		values []float32
	}{
		{"whole", []int{3, 4}, quarters(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)},
		{"transposed", []int{4, 3}, quarters(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)},
		{"column", []int{3}, quarters(2, 6, 10)},
		{"parameter", []int{1, 4}, quarters(8, 9, 10, 11)},
		{"half", []int{3}, []float32{-1.5, 0x1p-24, 65504}},
		{"bfloat", []int{2, 1, 1}, []float32{1, -3.5}},
		{"double", []int{}, []float32{0.1}},
		{"empty", []int{0, 5}, []float32{}},
	}
	for _, file := range []string{"zip2", "zip3", "zip4", "zip5", "legacy2", "legacy4"} {
		t.Run(file, func(t *testing.T) {
			f, err := Open("testdata/" + file + ".pt")
			require.NoError(t, err)
			defer f.Close()
			require.Len(t, f.Names(), len(want)+1)
			require.Empty(t, f.Metadata())
			for _, w := range want {
				info, ok := f.Info(w.name)
				require.True(t, ok, w.name)
				require.Equal(t, w.shape, info.Shape, w.name)
				got, err := f.Floats(w.name, w.shape...)
				require.NoError(t, err)
				require.Equal(t, w.values, got, w.name)
			}
			double, err := f.Float64s("double")
			require.NoError(t, err)
			require.Equal(t, []float64{0.1}, double)
			long, err := f.Ints("long", 2)
			require.NoError(t, err)
			require.Equal(t, []int64{-(1 << 40), 7}, long)
		})
	}
}

// Where a training script's file holds several dicts, the state dict is the one with
// most tensors; averaged weights win over those of the last step.
func TestStateDictIsFoundBelow(t *testing.T) {
	entry := func(key string, n int64) string {
		tensor := pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(n), pInts(1))
		return pString(key) + pDict(pString("w"), tensor)
	}
	step := pString("step") + pTensor(pStorage("FloatStorage", "0", 4), 0, pTuple(), pTuple())
	for _, c := range []struct {
		state string
		want  int
	}{
		{entry("opt", 4) + entry("model", 3), 3},
		{entry("opt", 4) + entry("model", 3) + entry("ema", 2), 2},
		{entry("ema", 2) + pString("state_dict") + "N" + entry("model", 3), 2},
	} {
		f, err := open(zip4(t, proto+pDict(c.state)+"."))
		require.NoError(t, err)
		values, err := f.Floats("w", c.want)
		require.NoError(t, err)
		require.Len(t, values, c.want)
	}
	f, err := open(zip4(t, proto+pDict(step)+"."))
	require.NoError(t, err)
	require.Equal(t, []string{"step"}, f.Names())
}

// Errors name the tensor, what was found, what was wanted and the nearest name.
func TestErrorsSayWhat(t *testing.T) {
	f, err := open(zip4(t, pState(pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(2, 2), pInts(2, 1)))))
	require.NoError(t, err)
	_, err = f.Floats("w", 4)
	require.EqualError(t, err, `checkpoint test: tensor "w" has shape [2 2], wanted [4]`)
	_, err = f.Floats("module.w", 4)
	require.EqualError(t, err, `checkpoint test: no tensor "module.w", wanted with shape [4]`)
	_, err = f.Floats("w.")
	require.ErrorContains(t, err, `no tensor "w."`)
	_, err = f.Ints("w")
	require.ErrorContains(t, err, `tensor "w" is F32, wanted one of [BOOL I16 I32 I64 I8 U8]`)

	g, err := Open(golden + "/tiny16/model.pt")
	require.NoError(t, err)
	_, err = g.Floats("out.2.bis", 6)
	require.ErrorContains(t, err, `no tensor "out.2.bis", wanted with shape [6]; the nearest name is "out.2.bias" [6]`)
	require.NoError(t, g.Close())
	_, err = g.Floats("out.2.bias", 6)
	require.ErrorIs(t, err, os.ErrClosed)

	_, err = Open("testdata/absent.pt")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open("testdata")
	require.ErrorContains(t, err, "not a regular file")
}

// A weight that is not finite is named with its index, in every type and layout.
func TestNotFinite(t *testing.T) {
	f32 := func(v float32) string { return string(le.AppendUint32(nil, math.Float32bits(v))) }
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	cases := map[string]string{
		"F32":  f32(1) + f32(2) + f32(nan),
		"F16":  "\x00\x3c\x00\x3c\x00\x7c",
		"BF16": "\x80\x3f\x80\x3f" + f32(inf)[2:],
		"F64":  string(le.AppendUint64(make([]byte, 16), math.Float64bits(1e300))), // beyond float32
	}
	for dtype, buffer := range cases {
		f, err := open(safe(fmt.Sprintf(`{"w":{"dtype":%q,"shape":[3],"data_offsets":[0,%d]}}`, dtype, len(buffer)), buffer))
		require.NoError(t, err)
		values, err := f.Floats("w", 3)
		require.ErrorContains(t, err, `tensor "w": value 2 is`, dtype)
		require.Nil(t, values)
	}
	f, err := open(zipped(t, 0, pState(pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(2, 2), pInts(1, 2))), map[string]string{"data/0": f32(0) + f32(inf) + f32(0) + f32(0)}))
	require.NoError(t, err)
	_, err = f.Floats("w", 2, 2)
	require.ErrorContains(t, err, `tensor "w": value 2 is -Inf`) // row-major index in the view
}

// The prefix that training wrappers put before all names is no part of them; one that
// only some names have is.
func TestWrapperPrefix(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{[]string{"module.a.weight", "module.b"}, []string{"a.weight", "b"}},
		{[]string{"_orig_mod.module.a", "_orig_mod.module.b"}, []string{"a", "b"}},
		{[]string{"module._orig_mod.module.a"}, []string{"a"}},
		{[]string{"module.a", "b"}, []string{"module.a", "b"}},
		{[]string{"module.", "module.a"}, []string{"module.", "module.a"}},
		{[]string{"modules.a"}, []string{"modules.a"}},
	} {
		var content []Content
		for i, name := range c.names {
			content = append(content, Content{Tensor: Tensor{Name: name, DType: F32, Shape: []int{1}}, Floats: []float32{float32(i)}})
		}
		var file bytes.Buffer
		require.NoError(t, WriteSafetensors(&file, content, nil))
		f, err := Read(bytes.NewReader(file.Bytes()), int64(file.Len()), "wrapped")
		require.NoError(t, err)
		require.Equal(t, c.want, f.Names())
		for i, name := range c.want {
			info, ok := f.Info(name)
			require.True(t, ok)
			require.Equal(t, name, info.Name)
			values, err := f.Floats(name, 1)
			require.NoError(t, err)
			require.Equal(t, []float32{float32(i)}, values)
		}
	}
}
