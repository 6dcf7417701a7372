//go:build !js

package simd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of this package run as WebAssembly in node, with one thread and with
// three.
func TestInNode(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("needs node 20 or later, to run the WebAssembly kernels: https://nodejs.org")
	}
	binary := filepath.Join(t.TempDir(), "simd.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, threads := range []string{"1", "3"} {
		t.Run(threads+" threads", func(t *testing.T) {
			run := exec.Command("node", "--stack-size=8192", "run_test.mjs", binary, "-test.v")
			run.Env = append(os.Environ(), "CMI_THREADS="+threads)
			out, err := run.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Log(strings.Count(string(out), "--- PASS"), "tests and cases passed")
		})
	}
}
