package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// modelFlags choose the prior and the device that it runs on.
type modelFlags struct {
	prior, key, config, device, fallback string
	gpus                                 []int
	told                                 *sync.Once       // what a user should know of the prior
	messages                             func() io.Writer // the command's standard error
}

func (f *modelFlags) add(c *cobra.Command) {
	f.messages, f.told = c.ErrOrStderr, new(sync.Once)
	c.Flags().StringVar(&f.prior, "prior", "faces64", "diffusion model: faces64 or photos64 (built in), or a guided-diffusion checkpoint FILE (.pt, .safetensors)")
	c.Flags().StringVar(&f.key, "prior-key", "", keyUsage)
	c.Flags().StringVar(&f.config, "prior-config", "", "JSON `FILE` with what shapes can't tell: image_size, num_head_channels, num_heads, use_new_attention_order, noise_schedule, diffusion_steps")
	c.Flags().StringVar(&f.device, "device", "cpu", "where to compute: "+deviceNames())
}

// open loads the prior. close releases it and its device.
func (f *modelFlags) open(ctx context.Context) (m *unet.Model, close func(), err error) {
	return f.openOn(ctx, f.device)
}

func (f *modelFlags) openOn(ctx context.Context, device string) (m *unet.Model, close func(), err error) {
	file, err := openCheckpoint(f.prior, f.key)
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
	f.told.Do(func() { f.tell(file, m.Config()) })
	return m, func() { m.Close(); dev.Close() }, nil
}

// tell says what was chosen for the user.
func (f *modelFlags) tell(file *checkpoint.File, cfg unet.Config) {
	if len(file.Keys()) > 1 {
		fmt.Fprintf(f.messages(), "cmi-native: %s: %s\n", f.prior, taken(file))
	}
	if len(cfg.Assumed) > 0 {
		fmt.Fprintf(f.messages(), "cmi-native: %s: %s\n", f.prior, assumed(cfg))
	}
}

// assumed lists what neither the checkpoint nor the user says.
func assumed(cfg unet.Config) string {
	return "assumed, because the checkpoint does not tell: " + strings.Join(cfg.Assumed, ", ") + " (--prior-config FILE sets them)"
}

const keyUsage = "`KEY` of the weights to take from a checkpoint that holds several, such as model beside ema; averaged ones are taken without it"

// builtIn are the priors that the program carries.
var builtIn = map[string]func() (*checkpoint.File, error){"faces64": faces64.Open, "photos64": photos64.Open}

// openCheckpoint opens the weights of that key, chosen where it is empty.
func openCheckpoint(name, key string) (*checkpoint.File, error) {
	open, ok := builtIn[name]
	switch {
	case !ok:
		return checkpoint.OpenKey(name, key)
	case key != "":
		return nil, fmt.Errorf("--prior-key %s: %s holds one set of weights; leave the flag out", key, name)
	}
	return open()
}

// taken says which of a file's several sets of weights was taken.
func taken(file *checkpoint.File) string {
	key := file.Key()
	if key == "" {
		key = "the outermost"
	}
	return fmt.Sprintf("weights taken: %s, of %s (--prior-key chooses)", key, strings.Join(file.Keys(), ", "))
}

// readConfig reads a JSON configuration; nothing where no file is named.
func readConfig(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}
