package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/photos64"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/pretrained"
)

// modelFlags choose the prior and the device that it runs on.
type modelFlags struct {
	prior, key, config, device, fallback string
	class                                int // −1 without
	gpus                                 []int
	told                                 *sync.Once       // what a user should know of the prior
	messages                             func() io.Writer // the command's standard error
}

func (f *modelFlags) add(c *cobra.Command) {
	f.messages, f.told = c.ErrOrStderr, new(sync.Once)
	c.Flags().StringVar(&f.prior, "prior", "faces64", "diffusion model: faces64 or photos64 (built in), or a checkpoint: a FILE of guided-diffusion, improved-diffusion, DDPM or EDM, or the folder of a diffusers model (docs/priors.md)")
	c.Flags().IntVar(&f.class, "class", -1, "`NUMBER` of the class of a class-conditional prior, from 0")
	c.Flags().StringVar(&f.key, "prior-key", "", keyUsage)
	c.Flags().StringVar(&f.config, "prior-config", "", "JSON `FILE` with what shapes can't tell: image_size, num_head_channels, num_heads, use_new_attention_order, noise_schedule, diffusion_steps")
	c.Flags().StringVar(&f.device, "device", "cpu", "where to compute: "+deviceNames())
}

// open loads the prior. close releases it and its device.
func (f *modelFlags) open(ctx context.Context) (m *network.Model, close func(), err error) {
	return f.openOn(ctx, f.device)
}

func (f *modelFlags) openOn(ctx context.Context, device string) (m *network.Model, close func(), err error) {
	file, err := openCheckpoint(f.prior, f.key)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	override, err := interruptible(ctx, func() ([]byte, error) { return readConfig(f.config) })
	if err != nil {
		return nil, nil, err
	}
	about, err := pretrained.Configure(file, override)
	if err == nil {
		if f.class >= 0 {
			about.Class = f.class
		}
		err = checkClass(about)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.prior, err)
	}
	dev, err := openDevice(ctx, device)
	if err != nil {
		return nil, nil, err
	}
	if m, err = about.Load(dev); err != nil {
		dev.Close()
		return nil, nil, fmt.Errorf("%s: %w", f.prior, err)
	}
	f.told.Do(func() { f.tell(file, about) })
	return m, func() { m.Close(); dev.Close() }, nil
}

// checkClass says whether the class that was chosen is one of the network's.
func checkClass(about *pretrained.Architecture) error {
	switch {
	case about.Classes > 0 && about.Class < 0:
		return fmt.Errorf("the network is class-conditional: choose what the picture shows by --class 0 … %d; it can't be used without a class", about.Classes-1)
	case about.Classes == 0 && about.Class >= 0:
		return fmt.Errorf("--class %d: the network knows no classes; leave the flag out", about.Class)
	case about.Class >= about.Classes && about.Class >= 0:
		return fmt.Errorf("--class %d: the network has the classes 0 … %d", about.Class, about.Classes-1)
	}
	return nil
}

// tell says what was chosen for the user.
func (f *modelFlags) tell(file *pretrained.Checkpoint, about *pretrained.Architecture) {
	if len(file.Keys()) > 1 {
		fmt.Fprintf(f.messages(), "cmi-native: %s: %s\n", f.prior, taken(file))
	}
	if len(about.Assumed) > 0 {
		fmt.Fprintf(f.messages(), "cmi-native: %s: %s\n", f.prior, assumed(about))
	}
}

// assumed lists what neither the checkpoint nor the user says.
func assumed(about *pretrained.Architecture) string {
	return "assumed, because the checkpoint does not tell: " + strings.Join(about.Assumed, ", ") + " (--prior-config FILE sets them)"
}

const keyUsage = "`KEY` of the weights to take from a checkpoint that holds several, such as model beside ema; averaged ones are taken without it"

// builtIn are the priors that the program carries.
var builtIn = map[string]func() (*checkpoint.File, error){"faces64": faces64.Open, "photos64": photos64.Open}

// openCheckpoint opens the weights of that key, chosen where it is empty.
func openCheckpoint(name, key string) (*pretrained.Checkpoint, error) {
	open, ok := builtIn[name]
	switch {
	case !ok:
		return pretrained.Open(name, key)
	case key != "":
		return nil, fmt.Errorf("--prior-key %s: %s holds one set of weights; leave the flag out", key, name)
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return pretrained.Of(file), nil
}

// hashPrior returns the SHA-256 of a prior's file, or of those of all its files.
func hashPrior(name string) (string, error) {
	files, err := pretrained.Files(name)
	if err != nil {
		return "", err
	}
	if len(files) == 1 {
		return experiment.HashFile(files[0])
	}
	all := sha256.New()
	for _, f := range files {
		sum, err := experiment.HashFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(all, filepath.Base(f), sum)
	}
	return fmt.Sprintf("%x", all.Sum(nil)), nil
}

// taken says which of a file's several sets of weights was taken.
func taken(file *pretrained.Checkpoint) string {
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
