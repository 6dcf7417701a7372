package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/gpu/wgsl"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/child"
	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu/native"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func init() {
	devices["webgpu"] = deviceKind{
		help: "webgpu:8GB (use at most this much of the adapter's memory), webgpu:f16 (convolutions with factors of 11 bits, where the driver takes f16)",
		open: openWebGPU,
	}
}

// driverCommand runs the WebGPU driver for another process of this program.
const driverCommand = "webgpu-driver"

// openWebGPU opens the fastest adapter in a process of its own, because the library
// ends its process when the adapter is lost. Options bound its memory and choose the
// precision.
func openWebGPU(options []string) (compute.Device, error) {
	most, precision := int64(0), wgsl.F32
	for _, o := range options {
		p, err := wgsl.ParsePrecision(o)
		if err == nil {
			precision = p
		} else if most, err = parseBytes(o); err != nil {
			return nil, fmt.Errorf("%w, or a precision, f16 or f32", err)
		}
	}
	gpu, err := openDriver()
	if err != nil {
		return nil, err
	}
	if most > 0 {
		gpu = bounded{gpu, most}
	}
	d, err := wgsl.New(gpu, wgsl.Options{Precision: precision})
	if err != nil {
		_ = gpu.Close()
		return nil, err
	}
	if folder := cacheFolder(); folder != "" {
		d.Remember(folder)
	}
	return d, nil
}

// bounded is a driver that may take at most a number of bytes of its adapter's memory.
type bounded struct {
	webgpu.GPU
	most int64
}

func (b bounded) Info() webgpu.Info {
	i := b.GPU.Info()
	if i.Memory == 0 || b.most < i.Memory {
		i.Memory = b.most
	}
	return i
}

// parseBytes reads a size such as 8GB or 512MiB, at least 1 MB.
func parseBytes(s string) (int64, error) {
	bytes, err := humanize.ParseBytes(s)
	if err != nil || bytes < 1e6 || bytes > 1<<62 {
		return 0, fmt.Errorf("%q: a size such as 8GB or 512MiB is wanted", s)
	}
	return int64(bytes), nil
}

// cacheFolder is where results are kept that can be found again: CMI_CACHE, or the
// user's own folder of such things. It is "" for nowhere, with CMI_CACHE=off too.
func cacheFolder() string {
	switch folder := os.Getenv("CMI_CACHE"); folder {
	case "off":
		return ""
	case "":
		user, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		return filepath.Join(user, "cmi")
	default:
		return folder
	}
}

func openDriver() (webgpu.GPU, error) {
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
		Use: driverCommand, Hidden: true, Args: arguments(0, 0),
		Short: "Run the WebGPU driver for another process, on standard input and output",
		RunE: func(*cobra.Command, []string) error {
			return failed(child.Serve(native.Open, os.Stdin, os.Stdout))
		},
	}
}
