//go:build !js

package browser_test

import (
	"testing"

	"github.com/cmi-diffusion/cmi/wasm/wasmtest"
)

// The driver's tests run as WebAssembly in a worker of Chromium.
func TestInChromium(t *testing.T) {
	wasmtest.NeedsChromium(t)
	support := wasmtest.Root(t, "wasm/test/support")
	wasmtest.DependOn(t, ".", "..", wasmtest.Root(t, "wasm/npm/src"), support)
	wasmtest.Node(t, nil, support+"/gotest.mjs", wasmtest.Binary(t), "-test.v")
}
