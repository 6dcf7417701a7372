// Package wasmtest starts tests that run in node or in Chromium from go test, or
// skips them where something is missing and says how to get it.
package wasmtest

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Root returns a path in the repository, as seen from the package under test.
func Root(t testing.TB, path string) string {
	for up := "."; ; up = filepath.Join(up, "..") {
		if _, err := os.Stat(filepath.Join(up, "go.mod")); err == nil {
			return filepath.Join(up, path)
		}
		if dir, err := filepath.Abs(up); err != nil || dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this package")
		}
	}
}

// NeedsNode skips with -short, and where there is no node.
func NeedsNode(t testing.TB) {
	if testing.Short() {
		t.Skip("a minute and more: not with -short")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("needs node 20 or later: https://nodejs.org")
	}
}

// NeedsChromium also skips where there is no browser, or where the package for it is
// not built.
func NeedsChromium(t testing.TB) {
	NeedsNode(t)
	if browser() == "" {
		t.Skip("needs Chromium: install the package chromium, or set CHROMIUM to its path")
	}
	for _, need := range []struct{ path, how string }{
		{"npm/dist/cmi.wasm", "make wasm"}, {"npm/dist/index.js", "make wasm"}, {"test/node_modules/playwright-core", "make web-tools"},
	} {
		if _, err := os.Stat(Root(t, filepath.Join("wasm", need.path))); err != nil {
			t.Skipf("needs wasm/%s: run %s", need.path, need.how)
		}
	}
}

// browser returns the same choice as in wasm/test/support/browser.mjs.
func browser() string {
	for _, path := range []string{os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			return path
		}
	}
	return ""
}

// Binary returns the tests of the package under test, compiled to WebAssembly.
func Binary(t testing.TB) string {
	binary := filepath.Join(t.TempDir(), "package.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// Node runs node, with more in its environment, for twelve minutes at most. What it
// writes is an error where it fails; of a test binary the passed tests are counted.
func Node(t testing.TB, environment []string, args ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", args...)
	node.Env = append(os.Environ(), environment...)
	out, err := node.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if passed := strings.Count(string(out), "--- PASS"); passed > 0 {
		t.Log(passed, "tests and cases passed")
	}
}

// DependOn looks at all files of folders, so that go test does not take its
// remembered result where one has changed: what other programs read it does not see.
func DependOn(t testing.TB, folders ...string) {
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
