package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// modelFlags choose the prior and the device that it runs on.
type modelFlags struct {
	prior, config, device, fallback string
	gpus                            []int
	messages                        func() io.Writer // the command's standard error
}

func (f *modelFlags) add(c *cobra.Command) {
	f.messages = c.ErrOrStderr
	c.Flags().StringVar(&f.prior, "prior", "faces64", "diffusion model: faces64 or photos64 (built in), or a guided-diffusion checkpoint FILE (.pt, .safetensors)")
	c.Flags().StringVar(&f.config, "prior-config", "", "JSON `FILE` with what shapes can't tell: image_size, num_head_channels, num_heads, use_new_attention_order")
	c.Flags().StringVar(&f.device, "device", "cpu", "where to compute: "+deviceNames())
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
	override, err := interruptible(ctx, func() ([]byte, error) { return readConfig(f.config) })
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

// builtIn are the priors that the program carries.
var builtIn = map[string]func() (*checkpoint.File, error){"faces64": faces64.Open, "photos64": photos64.Open}

func openCheckpoint(name string) (*checkpoint.File, error) {
	if open, ok := builtIn[name]; ok {
		return open()
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
