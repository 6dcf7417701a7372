package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// devices opens a compute device by its name.
var devices = map[string]func(context.Context) (compute.Device, error){
	"cpu": func(context.Context) (compute.Device, error) { return cpu.Open(0) },
}

// variant is a device of which there are several, or which can be set up in several
// ways: options stand behind its name, as in "cuda:1:bf16".
type variant struct {
	help  string
	open  func(ctx context.Context, options []string) (compute.Device, error)
	count func() (int, error) // how many there are, numbers from 0 being options; nil for one
}

var variants = map[string]variant{}

// findDevice is what opens a device of that name, with options or without.
func findDevice(name string) (func(context.Context) (compute.Device, error), error) {
	if open, ok := devices[name]; ok {
		return open, nil
	}
	base, options, _ := strings.Cut(name, ":")
	if v, ok := variants[base]; ok {
		return func(ctx context.Context) (compute.Device, error) { return v.open(ctx, strings.Split(options, ":")) }, nil
	}
	return nil, fmt.Errorf("unknown device %q: this build has %s", name, strings.Join(keys(devices), ", "))
}

func openDevice(ctx context.Context, name string) (compute.Device, error) {
	open, err := findDevice(name)
	if err != nil {
		return nil, err
	}
	dev, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return dev, nil
}

// modelFlags choose the prior and the device that it runs on.
type modelFlags struct {
	prior, config, device, fallback string
	gpus                            []int
	messages                        func() io.Writer // the command's standard error
}

func (f *modelFlags) add(c *cobra.Command) {
	f.messages = c.ErrOrStderr
	c.Flags().StringVar(&f.prior, "prior", "faces64", "diffusion model: faces64 (built in) or a guided-diffusion checkpoint FILE (.pt, .safetensors)")
	c.Flags().StringVar(&f.config, "prior-config", "", "JSON `FILE` with what shapes can't tell: image_size, num_head_channels, num_heads, use_new_attention_order")
	c.Flags().StringVar(&f.device, "device", "cpu", "where to compute: "+deviceNames())
}

// deviceNames lists the devices for people.
func deviceNames() string {
	names := strings.Join(keys(devices), ", ")
	for _, name := range keys(variants) {
		names += "; " + variants[name].help
	}
	return names
}

// open loads the prior. close releases it and its device.
func (f *modelFlags) open(ctx context.Context) (m *unet.Model, close func(), err error) {
	return f.openOn(ctx, f.device)
}

func (f *modelFlags) openOn(ctx context.Context, device string) (m *unet.Model, close func(), err error) {
	file, err := openCheckpoint(f.prior)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	override, err := readConfig(f.config)
	if err != nil {
		return nil, nil, err
	}
	dev, err := openDevice(ctx, device)
	if err != nil {
		return nil, nil, err
	}
	if m, err = unet.Load(dev, file, override); err != nil {
		dev.Close()
		return nil, nil, fmt.Errorf("%s: %w", f.prior, err)
	}
	return m, func() { m.Close(); dev.Close() }, nil
}

func openCheckpoint(name string) (*checkpoint.File, error) {
	if name == "faces64" {
		return faces64.Open()
	}
	return checkpoint.Open(name)
}

// readConfig reads a JSON configuration; nothing where no file is named.
func readConfig(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}
