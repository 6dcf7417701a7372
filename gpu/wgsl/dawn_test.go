//go:build !js && !cgo

package wgsl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/wasm/wasmtest"
)

// The kernels for drivers that take f16 and subgroups, which the native driver does
// not: the tests of dawn_js_test.go run as WebAssembly in node, on Dawn. On lavapipe
// subgroups have as many invocations as a vector has lanes: 8, and 4. (In the build
// without cgo alone, because make test runs this package twice.)
func TestOnDawn(t *testing.T) {
	binary := dawnTests(t)
	for _, c := range []struct {
		name, lanes, tests string
		short              bool
	}{{"vectors of 8", "256", "F16|Subgroups", false}, {"vectors of 4", "128", "Subgroups", true}} {
		t.Run(c.name, func(t *testing.T) {
			out := onDawn(t, binary, c.lanes, "-test.v", "-test.run", c.tests, fmt.Sprintf("-test.short=%t", c.short))
			for line := range strings.Lines(out) {
				if strings.Contains(line, "dB") {
					t.Log(strings.TrimSpace(line))
				}
			}
			if strings.Contains(out, "--- SKIP") {
				t.Skip(out)
			}
			t.Log(strings.Count(out, "--- PASS"), "tests and cases passed")
		})
	}
}

// BenchmarkOnDawn prints what BenchmarkSums measures:
//
//	CGO_ENABLED=0 go test ./gpu/wgsl -run - -bench OnDawn -benchtime 1x
func BenchmarkOnDawn(b *testing.B) {
	binary := dawnTests(b)
	for b.Loop() {
		fmt.Print(onDawn(b, binary, "256", "-test.run", "-", "-test.bench", "."))
	}
}

const dawnFolder = "../../.tools/dawn"

// dawnTests builds the tests of dawn_js_test.go, if what runs them is there.
func dawnTests(t testing.TB) (binary string) {
	wasmtest.NeedsNode(t)
	for _, part := range []struct{ folder, how string }{
		{dawnFolder + "/node_modules/webgpu", "make shader-tools"},
		{"../../wasm/npm/node_modules/esbuild", "make wasm"},
	} {
		if _, err := os.Stat(part.folder); err != nil {
			t.Skipf("needs %s: run %s", strings.TrimPrefix(part.folder, "../../"), part.how)
		}
	}
	wasmtest.DependOn(t, ".", "webgpu/browser", "../../sdk", "../../wasm/npm/src", "../../testdata/golden")
	return wasmtest.Binary(t)
}

// onDawn runs them, lavapipe's vectors being of so many bits.
func onDawn(t testing.TB, binary, lanes string, args ...string) string {
	here, err := os.Getwd()
	require.NoError(t, err)
	run := exec.Command("node", append([]string{"--stack-size=8192", filepath.Join(here, "testdata/dawn.mjs"), binary}, args...)...)
	run.Dir = dawnFolder
	run.Env = append(os.Environ(), "CMI_TEST_FOLDER="+here, "LP_NATIVE_VECTOR_WIDTH="+lanes)
	out, err := run.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skipf("Dawn finds no adapter: a Vulkan driver is needed (apt-get install mesa-vulkan-drivers): %s", out)
	}
	require.NoError(t, err, string(out))
	return string(out)
}
