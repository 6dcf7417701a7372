package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// trained writes a checkpoint as the training script does.
func trained(t *testing.T, value float32, metadata map[string]string) string {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	var file bytes.Buffer
	require.NoError(t, checkpoint.WriteSafetensors(&file, []checkpoint.Content{{
		Tensor: checkpoint.Tensor{Name: "w", DType: checkpoint.F32, Shape: []int{1, 2}}, Floats: []float32{0.1, value},
	}}, metadata))
	require.NoError(t, os.WriteFile(path, file.Bytes(), 0o644))
	return path
}

func TestConversion(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.safetensors")
	require.NoError(t, run(trained(t, -3, map[string]string{"image_size": "64", "num_head_channels": "32"}), out))
	f, err := checkpoint.Open(out)
	require.NoError(t, err)
	defer f.Close()
	info, _ := f.Info("w")
	require.Equal(t, checkpoint.F16, info.DType)
	values, err := f.Floats("w", 1, 2)
	require.NoError(t, err)
	require.InDelta(t, 0.1, values[0], 0.1*math.Pow(2, -11))
	require.EqualValues(t, -3, values[1])
	require.Equal(t, "64", f.Metadata()["image_size"])
	require.Equal(t, "16,8", f.Metadata()["attention_resolutions"])
}

func TestConversionRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.safetensors")
	require.ErrorContains(t, run(trained(t, 1e6, nil), out), "value 1: 1e+06 does not fit F16")
	require.ErrorContains(t, run(trained(t, 1, map[string]string{"num_head_channels": "64"}), out), `num_head_channels = "64", wanted "32"`)
	require.ErrorIs(t, run("absent", out), os.ErrNotExist)
	require.NoFileExists(t, out)
}
