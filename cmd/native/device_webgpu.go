package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/child"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/gogpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func init() { devices["webgpu"] = openWebGPU }

// driverCommand runs the WebGPU driver for another process of this program.
const driverCommand = "webgpu-driver"

// openWebGPU opens the fastest adapter in a process of its own, because the library
// ends its process when the adapter is lost.
func openWebGPU(context.Context) (compute.Device, error) {
	gpu, err := openDriver()
	if err != nil {
		return nil, err
	}
	d, err := wgsl.New(gpu)
	if err != nil {
		_ = gpu.Close()
		return nil, err
	}
	return d, nil
}

func openDriver() (webgpu.GPU, error) {
	if !native.Available && gogpu.Available { // it returns its errors, and needs no other process
		return gogpu.Open()
	}
	if !native.Available {
		return native.Open() // says what this build lacks
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("a process for the driver: %w", err)
	}
	return child.Open(exec.Command(self, driverCommand))
}

func webgpuDriverCommand() *cobra.Command {
	return &cobra.Command{
		Use: driverCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Run the WebGPU driver for another process, on standard input and output",
		RunE: func(*cobra.Command, []string) error {
			return failed(child.Serve(native.Open, os.Stdin, os.Stdout))
		},
	}
}
