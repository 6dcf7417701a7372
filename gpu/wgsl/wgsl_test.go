//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package wgsl_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
)

// open returns a device on the machine's adapter, software or not.
func open(t testing.TB) *wgsl.Device {
	t.Helper()
	gpu, err := native.Open()
	if err != nil {
		t.Skip(err)
	}
	d, err := wgsl.New(gpu, wgsl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestConformance(t *testing.T) {
	d := open(t)
	devicetest.Ops(t, d, testing.Short())
	devicetest.Cases(t, d, computetest.Networks(testing.Short()))
}

func TestErrors(t *testing.T) {
	open(t) // or skip
	devicetest.Errors(t, func() (compute.Device, error) {
		gpu, err := native.Open()
		if err != nil {
			return nil, err
		}
		return wgsl.New(gpu, wgsl.Options{})
	})
}

// hardware is a software adapter that says it is none, so that the kernels for
// real GPUs run.
type hardware struct{ webgpu.GPU }

func (g hardware) Info() webgpu.Info {
	i := g.GPU.Info()
	i.Software = false
	return i
}

// The kernels for real GPUs pass the same suite.
func TestHardwareKernels(t *testing.T) {
	gpu, err := native.Open()
	if err != nil {
		t.Skip(err)
	}
	d, err := wgsl.New(hardware{gpu}, wgsl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	devicetest.Ops(t, d, true)
	devicetest.Cases(t, d, computetest.Networks(true))
	devicetest.Cases(t, d, tiledCases()) // the products are tiled too
}

// tiledCases is convolutions large enough for Winograd's tiles.
func tiledCases() []computetest.Case {
	return slices.DeleteFunc(computetest.Ops(false), func(c computetest.Case) bool {
		return !strings.HasPrefix(c.Name, "64→96 k3 on ")
	})
}

// Tiles that are staged a few at a time, from the middle of one image to that of
// another, give what all at once do.
func TestStages(t *testing.T) {
	d := open(t)
	d.StageAtMost(36 * 96 * 7)
	devicetest.Cases(t, d, tiledCases())
}
