//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package native_test

import (
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) webgpu.GPU {
		g, err := native.Open()
		if err != nil {
			t.Skip(err)
		}
		t.Logf("%+v", g.Info())
		return g
	})
}
