package unet

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Config is the network's shape. The JSON names are those of the training code.
type Config struct {
	ImageSize         int       `json:"image_size"`     // pixels, height and width
	InChannels        int       `json:"in_channels"`    // 3
	ModelChannels     int       `json:"model_channels"` // width of a level of multiplier 1, and of the time embedding
	OutChannels       int       `json:"out_channels"`   // InChannels, or twice as many with learned variance
	NumResBlocks      int       `json:"num_res_blocks"` // of each level of the encoder; the decoder has one more
	AttentionDS       []int     `json:"attention_ds"`   // down-sampling factors whose levels attend
	ChannelMult       []float64 `json:"channel_mult"`   // width of each level / ModelChannels
	NumHeads          int       `json:"num_heads"`      // counts only where NumHeadChannels is −1
	NumHeadChannels   int       `json:"num_head_channels"`
	ScaleShift        bool      `json:"use_scale_shift_norm"`
	ResblockUpdown    bool      `json:"resblock_updown"`
	NewAttentionOrder bool      `json:"use_new_attention_order"`
	ConvResample      bool      `json:"conv_resample"`
	NoiseSchedule     string    `json:"noise_schedule"`  // linear or cosine; empty where nobody says
	Steps             int       `json:"diffusion_steps"` // training steps; 0 stands for 1000

	// Assumed are the keys, with their values, that neither the checkpoint nor the caller gives.
	Assumed []string `json:"-"`
}

// width returns the channels of a level.
func (c Config) width(level int) int {
	return int(math.Round(c.ChannelMult[level] * float64(c.ModelChannels)))
}

func (c Config) attends(factor int) bool { return slices.Contains(c.AttentionDS, factor) }

func (c Config) heads(channels int) int {
	if c.NumHeadChannels == -1 {
		return c.NumHeads
	}
	return channels / c.NumHeadChannels
}

// Heads says how many heads attention has.
func (c Config) Heads() string {
	if c.NumHeadChannels == -1 {
		return fmt.Sprintf("%d heads", c.NumHeads)
	}
	return fmt.Sprintf("heads of %d channels", c.NumHeadChannels)
}

// LearnedVariance says whether the output holds variance channels.
func (c Config) LearnedVariance() bool { return c.OutChannels == 2*c.InChannels }

// maxResBlocks bounds the residual blocks of a level, of which the released networks have 2 or 3.
const maxResBlocks = 100

// Validate says what makes a configuration impossible.
func (c Config) Validate() error {
	smallest := 1 << max(0, len(c.ChannelMult)-1)
	switch {
	case c.InChannels <= 0 || c.ModelChannels <= 0 || c.NumResBlocks <= 0 || len(c.ChannelMult) == 0 || len(c.ChannelMult) > 12:
		return fmt.Errorf("network configuration is incomplete: %+v", c)
	case c.NumResBlocks > maxResBlocks:
		return fmt.Errorf("num_res_blocks is %d, at most %d are wanted", c.NumResBlocks, maxResBlocks)
	case c.ModelChannels%2 != 0:
		return fmt.Errorf("model_channels is %d, an even number is wanted", c.ModelChannels)
	case c.Steps < 0:
		return fmt.Errorf("diffusion_steps is %d, at least 1 is wanted", c.Steps)
	case c.ImageSize <= 0 || c.ImageSize%smallest != 0:
		return fmt.Errorf("image_size is %d, %d levels need a multiple of %d", c.ImageSize, len(c.ChannelMult), smallest)
	case c.OutChannels != c.InChannels && c.OutChannels != 2*c.InChannels:
		return fmt.Errorf("the network has %d output channels, %d (noise) or %d (noise and variance) are wanted", c.OutChannels, c.InChannels, 2*c.InChannels)
	}
	for level, m := range c.ChannelMult {
		if !(m > 0 && m <= 1<<10) {
			return fmt.Errorf("channel_mult has %g, positive numbers are wanted", m)
		}
		channels := c.width(level)
		if channels == 0 || channels%32 != 0 {
			return fmt.Errorf("level %d has %d channels (model_channels %d × %g), a multiple of 32 (the normalisations' groups) is wanted", level, channels, c.ModelChannels, m)
		}
		if level != len(c.ChannelMult)-1 && !c.attends(1<<level) {
			continue
		}
		per := c.NumHeadChannels
		if per == -1 {
			per = c.NumHeads
		}
		if per <= 0 || channels%per != 0 {
			return fmt.Errorf("attention over %d channels can't have %s: give num_head_channels, or -1 with num_heads, in a JSON configuration", channels, c.Heads())
		}
	}
	return nil
}

// override changes c by a JSON object of configuration keys. Numbers and lists
// may also be strings, and attention_resolutions (image sizes) may stand for
// attention_ds, as in checkpoints' metadata. Unknown keys are ignored there,
// since they describe the training, and refused where strict.
func (c *Config) override(keys map[string]any, strict bool) error {
	known := map[string]any{}
	for name, value := range keys {
		switch name {
		case "image_size", "in_channels", "model_channels", "out_channels", "num_res_blocks", "num_heads", "num_head_channels", "diffusion_steps":
			n, err := number(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			known[name] = n
		case "attention_ds", "attention_resolutions":
			list, err := numbers(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			known[name] = list
		case "use_scale_shift_norm", "resblock_updown", "use_new_attention_order", "conv_resample":
			s := strings.ToLower(fmt.Sprint(value))
			if s != "true" && s != "false" {
				return fmt.Errorf("%s is %.60q, true or false is wanted", name, s)
			}
			known[name] = s == "true"
		case "channel_mult":
			if value == "" { // the training code's default for the size, which the shapes show
				continue
			}
			list, err := factors(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			known[name] = list
		case "noise_schedule", "schedule":
			known["noise_schedule"] = value
			if value != "linear" && value != "cosine" {
				return fmt.Errorf("%s is %.60q, linear or cosine is wanted", name, fmt.Sprint(value))
			}
		case "file_format":
		case "class_cond", "predict_xstart", "learn_sigma", "rescale_timesteps", "prediction_type":
			// What the network is, which the checks below compare.
		default:
			if strict {
				return fmt.Errorf("unknown key %.60q; known are image_size, num_head_channels, num_heads, use_new_attention_order and the others of the training code's configuration", name)
			}
		}
	}
	if err := c.contradicts(keys); err != nil {
		return err
	}
	resolutions, ok := known["attention_resolutions"].([]int)
	delete(known, "attention_resolutions")
	if n, given := known["num_heads"]; given && strict && known["num_head_channels"] == nil && c.NumHeadChannels != -1 {
		return fmt.Errorf("num_heads %v would do nothing: the network has num_head_channels %d; give num_head_channels, or -1 with num_heads", n, c.NumHeadChannels)
	}
	text, err := json.Marshal(known)
	if err == nil {
		err = json.Unmarshal(text, c)
	}
	if _, given := known["attention_ds"]; ok && !given && err == nil {
		c.AttentionDS = nil
		for _, r := range resolutions {
			if r <= 0 || c.ImageSize%r != 0 {
				return fmt.Errorf("attention_resolutions has %d, divisors of image_size %d are wanted", r, c.ImageSize)
			}
			c.AttentionDS = append(c.AttentionDS, c.ImageSize/r)
		}
		sort.Ints(c.AttentionDS)
	}
	return err
}

// contradicts refuses what a configuration says of the training that this package would
// get wrong.
func (c *Config) contradicts(keys map[string]any) error {
	said := func(name string) string {
		if v, ok := keys[name]; ok {
			return strings.ToLower(fmt.Sprint(v))
		}
		return ""
	}
	for _, name := range []string{"class_cond", "predict_xstart"} {
		if v := said(name); v == "true" {
			return fmt.Errorf("%s is true: networks that predict the noise without a class are supported", name)
		}
	}
	if v := said("prediction_type"); v != "" && v != "epsilon" {
		return fmt.Errorf("prediction_type is %.60q, epsilon (the noise) is supported", v)
	}
	if v := said("rescale_timesteps"); v == "true" && said("diffusion_steps") != "" && said("diffusion_steps") != "1000" {
		return fmt.Errorf("rescale_timesteps is true with diffusion_steps %.60q: supported with 1000 alone", said("diffusion_steps"))
	}
	if v := said("learn_sigma"); (v == "true" || v == "false") && (v == "true") != c.LearnedVariance() {
		return fmt.Errorf("learn_sigma is %s, but the network has %d output channels for %d input channels", v, c.OutChannels, c.InChannels)
	}
	return nil
}

// factors reads multipliers, such as 0.5.
func factors(v any) (out []float64, err error) {
	for _, item := range listed(v) {
		n, err := strconv.ParseFloat(strings.TrimSpace(fmt.Sprint(item)), 64)
		if err != nil || !(n > 0 && n <= 1<<10) {
			return nil, fmt.Errorf("%.60q is not a sensible multiplier", fmt.Sprint(item))
		}
		out = append(out, n)
	}
	return out, nil
}

// listed returns the items of a list, or of a text with commas.
func listed(v any) []any {
	items, ok := v.([]any)
	if !ok {
		for _, s := range strings.Split(strings.Trim(fmt.Sprint(v), "[]() "), ",") {
			items = append(items, s)
		}
	}
	return items
}

func number(v any) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(fmt.Sprint(v)))
	if err != nil || n < -1 || bits.Len(uint(max(n, 0))) > 20 {
		return 0, fmt.Errorf("%.60q is not a sensible whole number", fmt.Sprint(v))
	}
	return n, nil
}

func numbers(v any) ([]int, error) {
	var out []int
	for _, i := range listed(v) {
		n, err := number(i)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}
