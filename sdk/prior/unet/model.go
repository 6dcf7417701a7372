package unet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Model is a UNet on a device; it implements [prior.Model].
type Model struct {
	cfg Config
	net *compute.Network
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
	if len(override) > 0 {
		var given map[string]any
		if err := json.Unmarshal(override, &given); err != nil {
			return cfg, fmt.Errorf("the JSON configuration: %w", err)
		}
		if err := cfg.override(given, true); err != nil {
			return cfg, fmt.Errorf("the JSON configuration: %w", err)
		}
		maps.Copy(keys, given)
	}
	cfg.assume(keys)
	return cfg, cfg.Validate()
}

// assume notes what no key gives of what shapes can't tell.
func (c *Config) assume(keys map[string]any) {
	given := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, ok := keys[n]; return ok })
	}
	note := func(format string, args ...any) { c.Assumed = append(c.Assumed, fmt.Sprintf(format, args...)) }
	if !given("image_size") {
		note("image_size %d", c.ImageSize)
	}
	if !given("num_head_channels", "num_heads") {
		note("num_head_channels %d", c.NumHeadChannels)
	}
	if !given("use_new_attention_order") {
		note("use_new_attention_order %v", c.NewAttentionOrder)
	}
	if !given("noise_schedule", "schedule") {
		note("noise_schedule linear")
	}
	if !given("diffusion_steps") {
		note("diffusion_steps 1000")
	}
}

// Check reads every tensor of a network of that configuration and returns what [New]
// would refuse, without a device.
func Check(from checkpoint.Source, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	used := &ledger{Source: from, seen: map[string]bool{}}
	if err := build(cfg).Check(used); err != nil {
		return err
	}
	return used.complete()
}

// New puts a network of a known configuration on a device.
func New(d compute.Device, from checkpoint.Source, cfg Config) (*Model, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	used := &ledger{Source: from, seen: map[string]bool{}}
	net, err := build(cfg).Compile(d, used)
	if err != nil {
		return nil, err
	}
	if err := used.complete(); err != nil {
		net.Close()
		return nil, err
	}
	return &Model{cfg, net}, nil
}

// Config returns the network's configuration.
func (m *Model) Config() Config { return m.cfg }

// Image implements [prior.Model].
func (m *Model) Image() (c, h, w int) { return m.cfg.InChannels, m.cfg.ImageSize, m.cfg.ImageSize }

// LearnedVariance implements [prior.Model].
func (m *Model) LearnedVariance() bool { return m.cfg.LearnedVariance() }

// Steps implements [prior.Model]: the released networks' 1000 where nobody says.
func (m *Model) Steps() int { return cmp.Or(m.cfg.Steps, 1000) }

// NoiseSchedule implements [prior.Scheduled].
func (m *Model) NoiseSchedule() string { return m.cfg.NoiseSchedule }

// Device implements [prior.Model].
func (m *Model) Device() compute.Device { return m.net.Device() }

// Memory returns the bytes of activations, coefficients and gradients allocated so far.
func (m *Model) Memory() int64 { return m.net.Memory() }

// EstimateMemory implements [prior.MemoryEstimator].
func (m *Model) EstimateMemory(images int, p compute.Passes) (total, largest int64) {
	return m.net.EstimateMemory(images, p)
}

// Close implements [prior.Model].
func (m *Model) Close() { m.net.Close() }

// At implements [prior.Model].
func (m *Model) At(x compute.Tensor, t []int) (prior.Point, error) {
	if len(t) != x.N {
		return nil, fmt.Errorf("%d timesteps for %d images", len(t), x.N)
	}
	emb := make([]float32, 0, len(t)*m.cfg.ModelChannels)
	for _, ti := range t {
		if ti < 0 || ti >= m.Steps() {
			return nil, fmt.Errorf("timestep %d is outside 0 … %d", ti, m.Steps()-1)
		}
		emb = append(emb, timeEmbedding(ti, m.cfg.ModelChannels)...)
	}
	out, err := m.net.Value(x, emb)
	if err != nil {
		return nil, err
	}
	return point{m.net, out}, nil
}

// timeEmbedding is [cos(t f), sin(t f)], f_i = exp(−ln(10000) i/half), every
// operation in float32 as the networks were trained.
func timeEmbedding(t, dim int) []float32 {
	half := dim / 2
	out := make([]float32, dim)
	for i := range half {
		f := float32(math.Exp(float64(float32(-math.Log(10000)) * float32(i) / float32(half))))
		arg := float64(float32(t) * f)
		out[i], out[half+i] = float32(math.Cos(arg)), float32(math.Sin(arg))
	}
	return out
}

// point is the network at one x_t.
type point struct {
	*compute.Network
	out compute.Tensor
}

func (p point) Out() compute.Tensor { return p.out }

// shapes adapts a checkpoint to [Infer].
type shapes struct{ checkpoint.Source }

func (s shapes) Shape(name string) ([]int, bool) {
	t, ok := s.Info(name)
	return t.Shape, ok
}

// ledger notes which tensors a network takes.
type ledger struct {
	checkpoint.Source
	seen map[string]bool
}

func (l *ledger) Floats(name string, shape ...int) ([]float32, error) {
	l.seen[name] = true
	return l.Source.Floats(name, shape...)
}

// complete returns an error where a tensor was not taken.
func (l *ledger) complete() error {
	for _, name := range l.Names() {
		if !l.seen[name] {
			return fmt.Errorf("tensor %.200q has no place in this network: class-conditional and super-resolution networks are not supported", name)
		}
	}
	return nil
}
