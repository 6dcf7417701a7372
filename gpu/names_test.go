// Package gpu_test compares what the devices' kernels are called.
package gpu_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/cuda/ptx"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// mapNames returns the kernels of all pointwise maps.
func mapNames() (names []string) {
	for f := range compute.MapFuncs {
		for order := range 3 {
			if f.Scalar(order) != nil {
				names = append(names, compute.Map{Func: f, Order: order}.Kernel())
			}
		}
	}
	return names
}

// find returns what a pattern's group holds in files.
func find(t *testing.T, files, pattern string) (found []string) {
	all, err := filepath.Glob(files)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, file := range all {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1])
		}
	}
	return found
}

// A primitive's kernel has the primitive's name on every device, with vjp_ before it
// where it is the adjoint, jvp_ the tangent and jet2_ the second coefficient.
func TestKernelsHaveTheSameNames(t *testing.T) {
	primitives := append(mapNames(), strings.Fields("conv resample separable correlate combine addchannel mul dot normals")...)
	for _, name := range []string{"groupnorm", "attention"} {
		primitives = append(primitives, name, "vjp_"+name, "jvp_"+name, "jet2_"+name)
	}
	modules, err := ptx.Modules(9, 0)
	require.NoError(t, err)
	cuda := map[string]bool{}
	for _, m := range modules {
		for _, k := range m.Kernels {
			cuda[k.Name] = true
		}
	}
	set := func(names []string) map[string]bool {
		s := map[string]bool{}
		for _, n := range names {
			s[n] = true
		}
		return s
	}
	wgsl := set(find(t, "wgsl/*.wgsl", `(?m)^#entry (\w+)$`))
	maps.Copy(wgsl, set(mapNames())) // one text for all: map.wgsl
	simd := set(find(t, "../wasm/simd/kernels/device.h", `K\((\w+)\)`))
	for device, d := range map[string]struct {
		kernels map[string]bool
		made    map[string]string // primitives that are made of kernels with other names
	}{
		"cuda": {cuda, map[string]string{"conv": "conv3_f32_128 conv1_f32_128", "vjp_attention": "vjp_attention_q vjp_attention_kv"}},
		"wgsl": {wgsl, map[string]string{
			"conv": "conv3 conv1", "dot": "dot_slices", "separable": "gemm", "attention": "gemm softmax",
			"vjp_attention": "gemm jvp_softmax", "jvp_attention": "gemm jvp_softmax", "jet2_attention": "gemm jet2_softmax",
		}},
		"simd": {simd, map[string]string{"jvp_attention": "attention", "jet2_attention": "attention"}},
	} {
		if d.kernels["map"] { // one kernel that is told the function
			delete(d.kernels, "map")
			maps.Copy(d.kernels, set(mapNames()))
		}
		for _, name := range primitives {
			made, ok := d.made[name]
			if !ok {
				made = name
			}
			for _, kernel := range strings.Fields(made) {
				assert.True(t, d.kernels[kernel], "%s has no kernel %s, for %s", device, kernel, name)
			}
			if ok {
				assert.False(t, d.kernels[name], "%s has a kernel %s, and the test says that it is made of others", device, name)
			}
		}
		for kernel := range d.kernels {
			assert.NotRegexp(t, `(^|_)(adjoint|tangent|second|value|run|of)$`, kernel, "%s: a derivative is named by what stands before", device)
		}
	}
}
