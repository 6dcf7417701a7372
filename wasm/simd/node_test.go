//go:build !js

package simd

import (
	"testing"

	"github.com/cmi-diffusion/cmi/wasm/wasmtest"
)

// The tests of this package run as WebAssembly in node: with one thread all, with
// three the quick selection of the conformance suite.
func TestInNode(t *testing.T) {
	wasmtest.NeedsNode(t)
	wasmtest.DependOn(t, ".", wasmtest.Root(t, "sdk"))
	binary := wasmtest.Binary(t)
	for threads, short := range map[string]string{"1": "-test.short=false", "3": "-test.short"} {
		t.Run(threads+" threads", func(t *testing.T) {
			wasmtest.Node(t, []string{"CMI_THREADS=" + threads}, "--stack-size=8192", "run_test.mjs", binary, "-test.v", short)
		})
	}
}
