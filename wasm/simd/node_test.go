//go:build !js

package simd

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of this package run as WebAssembly in node: with one thread all, with
// three the quick selection of the conformance suite.
func TestInNode(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("needs node 20 or later, to run the WebAssembly kernels: https://nodejs.org")
	}
	depend(t, ".", "../../sdk")
	binary := filepath.Join(t.TempDir(), "simd.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for threads, short := range map[string]string{"1": "-test.short=false", "3": "-test.short"} {
		t.Run(threads+" threads", func(t *testing.T) {
			run := exec.Command("node", "--stack-size=8192", "run_test.mjs", binary, "-test.v", short)
			run.Env = append(os.Environ(), "CMI_THREADS="+threads)
			out, err := run.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
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
		if err != nil {
			t.Fatal(err)
		}
	}
}
