//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package native_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
)

func TestInfo(t *testing.T) {
	g, err := native.Open()
	if err != nil {
		t.Skip(err)
	}
	i := g.Info()
	t.Logf("%+v", i)
	assert.NotEmpty(t, i.Name)
	assert.NotEmpty(t, i.Vendor)
	assert.NotEmpty(t, i.Driver)
	assert.Contains(t, []string{"vulkan", "metal", "d3d12"}, i.Backend)
	assert.GreaterOrEqual(t, i.MaxBinding, 128<<20)
	assert.GreaterOrEqual(t, i.MaxStorageBuffers, 8)
	require.NoError(t, g.Close())
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) webgpu.GPU {
		g, err := native.Open()
		if err != nil {
			t.Skip(err)
		}
		return g
	})
}
