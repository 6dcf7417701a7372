// Package pretrained loads diffusion priors from the files that people have, whatever library
// wrote them. Nothing in a file is executed.
//
// [Open] opens a file or a folder, [Configure] tells its format and reads the configuration
// off it, and [Architecture.Load] puts the network on a device. A format is a file of this
// package and a line of the table formats.
package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// Architecture is what a checkpoint's network is, before it is on a device.
type Architecture struct {
	Format  string   // for people: "guided-diffusion UNet"
	Summary []string // lines for people: what was concluded from the file
	Assumed []string // keys with their values that the file does not tell
	Classes int      // of a class-conditional network, else 0
	Class   int      // that the JSON configuration chooses; −1 without

	check func() error
	load  func(compute.Device) (*network.Model, error)
}

// Check reads every tensor and returns what [Architecture.Load] would refuse, without a device.
func (a *Architecture) Check() error { return a.check() }

// Load puts the network on a device. A class-conditional one whose class is not chosen needs
// [network.Model.SetClass] before it is evaluated.
func (a *Architecture) Load(d compute.Device) (*network.Model, error) {
	m, err := a.load(d)
	if err != nil || a.Class < 0 {
		return m, err
	}
	if err := m.SetClass(a.Class); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// format is a layout of checkpoints.
type format struct {
	name string
	// is says whether a checkpoint has that layout.
	is func(checkpoint.Source) bool
	// configure reads the configuration off a checkpoint; override is a JSON object of what it
	// does not tell, nil for none.
	configure func(from checkpoint.Source, override []byte) (*Architecture, error)
}

var formats = []format{
	{"guided-diffusion", has("input_blocks.0.0.weight"), guidedDiffusion},
	{"diffusers (UNet2DModel)", has("down_blocks.0.resnets.0.conv1.weight"), diffusers},
	{"DDPM's PyTorch port", has("down.0.block.0.conv1.weight"), ddpm},
	{"EDM", isEDM, edm},
}

// has returns whether a checkpoint has a tensor of that name.
func has(name string) func(checkpoint.Source) bool {
	return func(from checkpoint.Source) bool { _, ok := from.Info(name); return ok }
}

// Configure tells the format of a checkpoint, which stays the caller's until the network is
// loaded. override is a JSON object of what the checkpoint does not tell, such as
// {"image_size": 256}, and of the class that is wanted, {"class": 3}; nil for none.
func Configure(from checkpoint.Source, override []byte) (*Architecture, error) {
	override, class, err := splitClass(override)
	if err != nil {
		return nil, err
	}
	for _, f := range formats {
		if f.is(from) {
			a, err := f.configure(from, override)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			a.Class = class
			return a, nil
		}
	}
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.name
	}
	first := "no tensors"
	if all := from.Names(); len(all) > 0 {
		first = fmt.Sprintf("a tensor %.100q", all[0])
	}
	return nil, fmt.Errorf("the layout is none of those known (%s): it begins with %s", strings.Join(names, ", "), first)
}

// splitClass takes the key "class" out of a JSON object; −1 without.
func splitClass(override []byte) (rest []byte, class int, err error) {
	keys := map[string]json.RawMessage{}
	if len(override) == 0 || json.Unmarshal(override, &keys) != nil || keys["class"] == nil {
		return override, -1, nil // what is no object is refused by the format
	}
	if err := json.Unmarshal(keys["class"], &class); err != nil || class < 0 {
		return nil, -1, fmt.Errorf("the JSON configuration: class is %.60q, the number of a class is wanted", keys["class"])
	}
	if delete(keys, "class"); len(keys) == 0 {
		return nil, class, nil
	}
	rest, err = json.Marshal(keys)
	return rest, class, err
}

// Load configures a checkpoint and puts its network on a device.
func Load(d compute.Device, from checkpoint.Source, override []byte) (*network.Model, error) {
	a, err := Configure(from, override)
	if err != nil {
		return nil, err
	}
	return a.Load(d)
}

// guidedDiffusion is the layout of guided-diffusion, improved-diffusion and what was trained
// with them.
func guidedDiffusion(from checkpoint.Source, override []byte) (*Architecture, error) {
	cfg, err := unet.Configure(from, override)
	if err != nil {
		return nil, err
	}
	return unetArchitecture("guided-diffusion UNet", from, cfg), nil
}

// unetArchitecture is that of a [unet.Config].
func unetArchitecture(format string, from checkpoint.Source, cfg unet.Config) *Architecture {
	return &Architecture{
		Format: format, Summary: cfg.Describe(), Assumed: cfg.Assumed, Classes: cfg.NumClasses,
		check: func() error { return unet.Check(from, cfg) },
		load: func(d compute.Device) (*network.Model, error) {
			m, err := unet.New(d, from, cfg)
			if err != nil {
				return nil, err
			}
			return m.Model, nil
		},
	}
}

// errNoConfig is returned for tensors of diffusers without their configuration.
var errNoConfig = errors.New("the tensors alone don't tell the network: open the model's folder, or the file in its folder beside config.json")
