package unet

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
)

// Model is a UNet on a device; it implements [prior.Model].
type Model struct {
	*network.Model
	cfg Config
}

// Load puts a checkpoint's network on a device. The configuration is inferred
// from the tensors' names and shapes, then changed by the checkpoint's own
// metadata, then by override, a JSON object (nil for none), for what shapes
// can't tell: image_size, num_head_channels or num_heads, use_new_attention_order.
// Errors name the tensor, the shape found and the shape wanted.
func Load(d compute.Device, from checkpoint.Source, override []byte) (*Model, error) {
	cfg, err := Configure(from, override)
	if err != nil {
		return nil, err
	}
	return New(d, from, cfg)
}

// Configure returns the configuration that [Load] uses.
func Configure(from checkpoint.Source, override []byte) (Config, error) {
	cfg, err := Infer(shapes{from})
	if err != nil {
		return cfg, err
	}
	if cfg.InChannels != 1 && cfg.InChannels != 3 {
		return cfg, fmt.Errorf("the network takes %d channels, 3 (RGB) or 1 (grey) are wanted: networks for super-resolution (6) and of latents (4) are not supported", cfg.InChannels)
	}
	keys := map[string]any{}
	for k, v := range from.Metadata() {
		keys[k] = v
	}
	if err := cfg.override(keys, false); err != nil {
		return cfg, fmt.Errorf("the checkpoint's metadata: %w", err)
	}
	var untold []string
	for _, key := range []string{"image_size", "num_head_channels", "use_new_attention_order", "noise_schedule", "diffusion_steps", "rescale_timesteps"} {
		if !told(keys, key) {
			untold = append(untold, key)
		}
	}
	if err := cfg.Override(override, untold...); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// Override changes c by a JSON object of configuration keys, nil for none, and notes as
// assumed what of untold, the keys that a checkpoint does not tell, is not in it either.
func (c *Config) Override(object []byte, untold ...string) error {
	var given map[string]any
	if len(object) > 0 {
		if err := json.Unmarshal(object, &given); err != nil {
			return fmt.Errorf("the JSON configuration: %w", err)
		}
		if err := c.override(given, true); err != nil {
			return fmt.Errorf("the JSON configuration: %w", err)
		}
		if told(given, "noise_schedule") || told(given, "diffusion_steps") {
			c.Betas = nil
		}
	}
	for _, key := range untold {
		if key == "rescale_timesteps" { // the default of improved-diffusion, whose networks have other numbers of steps
			if c.steps() == 1000 || told(given, key) {
				continue
			}
			c.RescaleTimesteps = true
		}
		if !told(given, key) {
			c.Assumed = append(c.Assumed, fmt.Sprintf("%s %v", key, c.value(key)))
		}
	}
	return nil
}

// told says whether keys have that one, or another that says the same.
func told(keys map[string]any, key string) bool {
	same := map[string]string{"num_head_channels": "num_heads", "noise_schedule": "schedule"}
	_, ok := keys[key]
	if other := same[key]; !ok && other != "" {
		_, ok = keys[other]
	}
	return ok
}

// value returns what a key of untold configurations is.
func (c *Config) value(key string) any {
	switch key {
	case "image_size":
		return c.ImageSize
	case "num_head_channels":
		return c.NumHeadChannels
	case "use_new_attention_order":
		return c.NewAttentionOrder
	case "noise_schedule":
		return cmp.Or(c.NoiseSchedule, "linear")
	case "diffusion_steps":
		return c.steps()
	}
	return c.RescaleTimesteps
}

// Check reads every tensor of a network of that configuration and returns what [New]
// would refuse, without a device.
func Check(from checkpoint.Source, cfg Config) error {
	_, err := load(from, cfg, func(g *compute.Graph, weights compute.Source) error { return g.Check(weights) })
	return err
}

// New puts a network of a known configuration on a device.
func New(d compute.Device, from checkpoint.Source, cfg Config) (*Model, error) {
	var net *compute.Network
	beside, err := load(from, cfg, func(g *compute.Graph, weights compute.Source) (err error) {
		net, err = g.Compile(d, weights)
		return err
	})
	m := &Model{cfg: cfg}
	if err == nil {
		m.Model, err = network.New(net, beside)
	}
	if err != nil {
		if net != nil {
			net.Close()
		}
		return nil, err
	}
	return m, nil
}

// load has take read the weights of the network, and returns what the network is beside its
// graph. A tensor that has no place is an error.
func load(from checkpoint.Source, cfg Config, take func(*compute.Graph, compute.Source) error) (c network.Config, err error) {
	if err = cfg.Validate(); err != nil {
		return c, err
	}
	used := network.NewLedger(from)
	var named checkpoint.Source = used
	if cfg.Aliases != nil {
		named = cfg.Aliases.Of(used)
	}
	if err = take(build(cfg, cfg.ImageSize, cfg.ImageSize), named); err != nil {
		return c, err
	}
	if c, err = cfg.beside(named); err != nil {
		return c, err
	}
	return c, used.Complete()
}

// beside returns what the network is beside its graph.
func (c Config) beside(from checkpoint.Source) (n network.Config, err error) {
	n = network.Config{Schedule: c.NoiseSchedule, Betas: c.Betas, Steps: c.steps(), Classes: c.NumClasses}
	if n.Betas == nil && (n.Schedule != "" || c.Predicts != "") {
		if n.Betas, err = diffusion.Betas(cmp.Or(n.Schedule, "linear"), n.Steps); err != nil {
			return n, err
		}
	}
	n.Predicts, n.Multiple = predictions[c.Predicts], 1<<(len(c.ChannelMult)-1)
	n.Graph = func(h, w int) (*compute.Graph, error) { return build(c, h, w), nil }
	var classes []float32
	if c.NumClasses > 0 {
		if classes, err = from.Floats("label_emb.weight", c.NumClasses, 4*c.ModelChannels); err != nil {
			return n, err
		}
	}
	rescale := 1.0
	if c.RescaleTimesteps {
		rescale = 1000 / float64(n.Steps)
	}
	n.Embed = func(dst []float32, time float64, class int) {
		c.Embedding.Fill(dst[:c.ModelChannels], time*rescale)
		if class >= 0 {
			copy(dst[c.ModelChannels:], classes[class*4*c.ModelChannels:])
		}
	}
	return n, nil
}

// Config returns the network's configuration.
func (m *Model) Config() Config { return m.cfg }

// shapes adapts a checkpoint to [Infer].
type shapes struct{ checkpoint.Source }

func (s shapes) Shape(name string) ([]int, bool) {
	t, ok := s.Info(name)
	return t.Shape, ok
}
