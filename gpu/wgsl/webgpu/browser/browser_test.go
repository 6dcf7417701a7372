//go:build js

package browser_test

import (
	"syscall/js"
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/browser"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(*testing.T) webgpu.GPU {
		return browser.New(js.Global().Get("gpuForTests").Call("again"))
	})
}
