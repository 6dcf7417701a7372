//go:build linux && !nocuda && (amd64 || arm64)

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/libcuda"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// emulated puts the fake CUDA driver with two GPUs in the place of NVIDIA's; it must
// see nothing wrong.
func emulated(t *testing.T) *fakecuda.Control {
	t.Helper()
	path, err := fakecuda.Library("../../gpu/cuda")
	if errors.Is(err, fakecuda.ErrNoCompiler) {
		t.Skip(err)
	}
	require.NoError(t, err)
	control, err := fakecuda.Open(path)
	require.NoError(t, err)
	t.Setenv(libcuda.LibraryVariable, path)
	t.Cleanup(func() {
		assert.Empty(t, control.Violations())
		assert.Zero(t, control.Live())
	})
	return control
}

func TestCUDADevices(t *testing.T) {
	emulated(t)
	code, out, errs := tool(t.Context(), "info", "--devices")
	require.Zero(t, code, errs)
	assert.Contains(t, out, "\ncuda: Emulated GPU, compute capability 8.0")
	assert.Contains(t, out, "\ncuda:1: Emulated GPU")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--device", "cuda:2"}, []string{"GPU 2", "2", "nvidia-smi"}},
		{[]string{"--device", "cuda:f64"}, []string{"f64", "tf32", "bf16"}},
		{[]string{"--gpus", "0,1"}, []string{"--gpus", "cpu", "cuda"}},
		{[]string{"--device", "cuda", "--gpus", "0,0"}, []string{"different"}},
		{[]string{"--device", "cuda:1", "--gpus", "0,1"}, []string{"cuda:1", "[0 1]", "leave one out"}},
		{[]string{"--device", "cuda:1:0"}, []string{"1 and 0", "--gpus"}},
		{[]string{"--device", "cuda", "--gpus", "0,5"}, []string{"GPU 5"}},
	} {
		code, out, errs := tool(t.Context(), append([]string{"sample", "--count", "2", "--out", t.TempDir()}, c.args...)...)
		assert.Equal(t, 2, code)
		assert.Empty(t, out)
		for _, want := range c.want {
			assert.Contains(t, errs, want)
		}
		assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
	}
	t.Setenv(libcuda.LibraryVariable, "/none/libcuda.so.1")
	code, _, errs = tool(t.Context(), "restore", face, "--device", "cuda")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "/none/libcuda.so.1")
	assert.Contains(t, errs, "install NVIDIA's driver")
	assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
}

// The emulated GPU draws the CPU's pictures; two GPUs draw the same bytes as one.
func TestCUDAPictures(t *testing.T) {
	control := emulated(t)
	const tiny = "../../testdata/golden/tiny16/"
	run := func(args ...string) string {
		t.Helper()
		dir := t.TempDir()
		code, _, errs := tool(t.Context(), append(args, "--prior", tiny+"model.pt", "--prior-config", tiny+"config.json", "--steps", "2", "--out", dir)...)
		require.Zero(t, code, errs)
		return dir
	}
	restore := []string{"restore", face, "../../examples/faces/02.png", "../../examples/faces/03.png", "--resize", "--cmi", "--lanczos", "1", "--window-from", "0"}
	for name, c := range map[string]struct {
		args  []string
		names []string
	}{
		"sample":  {[]string{"sample", "--count", "3"}, []string{"sample001", "sample002", "sample003"}},
		"restore": {restore, []string{"01", "02", "03"}},
	} {
		t.Run(name, func(t *testing.T) {
			processor := run(c.args...)
			one := run(append(c.args, "--device", "cuda:f32")...)
			before := control.Calls("cuCtxCreate_v2")
			two := run(append(c.args, "--device", "cuda:f32", "--gpus", "0,1")...)
			assert.Equal(t, 2, control.Calls("cuCtxCreate_v2")-before)
			for _, n := range c.names {
				want, err := picture.Open(filepath.Join(processor, n+".png"))
				require.NoError(t, err)
				got, err := picture.Open(filepath.Join(one, n+".png"))
				require.NoError(t, err)
				for i := range want.Pix {
					if d := got.Pix[i] - want.Pix[i]; d < -2.1/127.5 || d > 2.1/127.5 {
						t.Fatalf("%s: value %d is %v on the emulated GPU, %v on the CPU", n, i, got.Pix[i], want.Pix[i])
					}
				}
				a, err := os.ReadFile(filepath.Join(one, n+".png"))
				require.NoError(t, err)
				b, err := os.ReadFile(filepath.Join(two, n+".png"))
				require.NoError(t, err)
				assert.Equal(t, a, b, n)
			}
		})
	}
}
