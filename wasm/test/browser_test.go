// Package test runs the browser package's tests in a real Chromium.
package test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cmi-diffusion/cmi/wasm/wasmtest"
)

// TestBrowser runs each *.test.mjs with node's test runner, two at a time where
// there are processors for it.
func TestBrowser(t *testing.T) {
	wasmtest.NeedsChromium(t)
	files, err := filepath.Glob("*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no *.test.mjs here: %v", err)
	}
	wasmtest.DependOn(t, files...)
	wasmtest.DependOn(t, "support", "package-lock.json", "frameworks/package-lock.json")
	for _, part := range []string{"wasm/npm/dist", "wasm/npm/src", "wasm/demo", "sdk", "cmd/native", "examples/faces", "examples/web", "testdata/golden", "docs/browser.md", "README.md", "wasm/npm/README.md"} {
		wasmtest.DependOn(t, wasmtest.Root(t, part))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".test.mjs"), func(t *testing.T) {
			t.Parallel()
			wasmtest.Node(t, nil, "--test", file)
		})
	}
}
