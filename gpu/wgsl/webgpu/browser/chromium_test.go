//go:build !js

package browser_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The driver's tests run as WebAssembly in a worker of Chromium.
func TestInChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("needs node 20 or later: https://nodejs.org")
	}
	for _, folder := range []string{"npm/node_modules/esbuild", "test/node_modules/playwright-core"} {
		if _, err := os.Stat(filepath.Join("../../../../wasm", folder)); err != nil {
			t.Skipf("needs wasm/%s: run make wasm, and npm ci in wasm/test", folder)
		}
	}
	depend(t, ".", "..", "../../../../wasm/npm/src", "../../../../wasm/test/support")
	binary := filepath.Join(t.TempDir(), "driver.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command("node", "run_test.mjs", binary, "-test.v").CombinedOutput()
	if strings.Contains(string(out), "no Chromium found") {
		t.Skip("needs Chromium: install the package chromium or set CHROMIUM to its path")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(strings.Count(string(out), "--- PASS"), "tests passed")
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
		if err != nil {
			t.Fatal(err)
		}
	}
}
