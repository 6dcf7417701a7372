// Package test runs the browser package's tests in a real Chromium.
package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBrowser runs each *.test.mjs with node's test runner.
func TestBrowser(t *testing.T) {
	needs(t)
	files, err := filepath.Glob("*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no *.test.mjs here: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".test.mjs"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, "node", "--test", file).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// needs skips where something is missing, and says how to get it.
func needs(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes in a browser: not with -short")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("no node: install Node.js 20 or newer")
	}
	if browser() == "" {
		t.Skip("no Chromium: install the package chromium, or set CHROMIUM to its path")
	}
	for _, need := range []struct{ path, how string }{
		{"../npm/dist/cmi.wasm", "make wasm"}, {"../npm/dist/index.js", "make wasm"}, {"node_modules/playwright-core", "npm ci in wasm/test"},
	} {
		if _, err := os.Stat(need.path); err != nil {
			t.Skipf("no %s: run %s", need.path, need.how)
		}
	}
}

// browser is the same choice as in support/browser.mjs.
func browser() string {
	for _, path := range []string{os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			return path
		}
	}
	return ""
}
