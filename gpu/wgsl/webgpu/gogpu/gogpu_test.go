//go:build gogpu && !js

package gogpu_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/drivertest"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/gogpu"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

func open(t *testing.T) webgpu.GPU {
	g, err := gogpu.Open()
	if err != nil {
		t.Skip(err)
	}
	return g
}

func TestDriver(t *testing.T) { drivertest.Run(t, open) }

// The conformance suite and the golden vectors, as on the native driver.
func TestConformance(t *testing.T) {
	d, err := wgsl.New(open(t), wgsl.Options{})
	require.NoError(t, err)
	vectors, err := golden.Cases(os.DirFS("../../../../testdata/golden"), golden.Options{Quick: true})
	require.NoError(t, err)
	devicetest.Ops(t, d, true)
	devicetest.Cases(t, d, append(computetest.Networks(true), vectors...))
	require.NoError(t, d.Close())
}
