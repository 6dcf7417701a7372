//go:build !js && !cgo

package wgsl

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The kernels for drivers that take f16 and subgroups, which the native driver does
// not: the tests of dawn_js_test.go run as WebAssembly in node, on Dawn. On lavapipe
// subgroups have as many invocations as a vector has lanes: 8, and 4. (In the build
// without cgo alone, because make test runs this package twice.)
func TestOnDawn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is missing: it runs Dawn (apt-get install nodejs)")
	}
	const dawn = "../../.tools/dawn"
	for folder, how := range map[string]string{
		dawn + "/node_modules/webgpu":         "make shader-tools",
		"../../wasm/npm/node_modules/esbuild": "make wasm",
	} {
		if _, err := os.Stat(folder); err != nil {
			t.Skipf("%s is missing (%s; needs npm)", strings.TrimPrefix(folder, "../../"), how)
		}
	}
	depend(t, ".", "webgpu/browser", "../../sdk", "../../wasm/npm/src", "../../testdata/golden/tiny16")
	binary := filepath.Join(t.TempDir(), "wgsl.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	script, err := filepath.Abs("testdata/dawn.mjs")
	require.NoError(t, err)
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, c := range []struct{ name, tests, lanes string }{
		{"vectors of 8", "F16|Subgroups", "256"},
		{"vectors of 4", "Subgroups", "128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := exec.Command(node, "--stack-size=8192", script, binary, "-test.v", "-test.run", c.tests)
			run.Dir = dawn
			run.Env = append(os.Environ(), "CMI_TEST_FOLDER="+here, "LP_NATIVE_VECTOR_WIDTH="+c.lanes)
			out, err := run.CombinedOutput()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
				t.Skipf("Dawn finds no adapter: a Vulkan driver is needed (apt-get install mesa-vulkan-drivers): %s", out)
			}
			require.NoError(t, err, string(out))
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "dB") {
					t.Log(strings.TrimSpace(line))
				}
			}
			if strings.Contains(string(out), "--- SKIP") {
				t.Skip(string(out))
			}
			t.Log(strings.Count(string(out), "--- PASS"), "tests and cases passed")
		})
	}
}

// depend looks at all files of folders, so that go test does not take its
// remembered result where one has changed: what other programs read it does not see.
func depend(t *testing.T, folders ...string) {
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		require.NoError(t, err)
	}
}
