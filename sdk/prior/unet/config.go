package unet

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Config is the network's shape. The JSON names are those of the training code.
type Config struct {
	ImageSize         int   `json:"image_size"`     // pixels, height and width
	InChannels        int   `json:"in_channels"`    // 3
	ModelChannels     int   `json:"model_channels"` // width of the first level
	OutChannels       int   `json:"out_channels"`   // InChannels, or twice as many with learned variance
	NumResBlocks      int   `json:"num_res_blocks"` // of each level of the encoder; the decoder has one more
	AttentionDS       []int `json:"attention_ds"`   // down-sampling factors whose levels attend
	ChannelMult       []int `json:"channel_mult"`   // width of each level / ModelChannels
	NumHeads          int   `json:"num_heads"`      // counts only where NumHeadChannels is −1
	NumHeadChannels   int   `json:"num_head_channels"`
	ScaleShift        bool  `json:"use_scale_shift_norm"`
	ResblockUpdown    bool  `json:"resblock_updown"`
	NewAttentionOrder bool  `json:"use_new_attention_order"`
	ConvResample      bool  `json:"conv_resample"`
}

func (c Config) attends(factor int) bool { return slices.Contains(c.AttentionDS, factor) }

func (c Config) heads(channels int) int {
	if c.NumHeadChannels == -1 {
		return c.NumHeads
	}
	return channels / c.NumHeadChannels
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
	case c.ModelChannels%32 != 0:
		return fmt.Errorf("model_channels is %d, a multiple of 32 (the normalisations' groups) is wanted", c.ModelChannels)
	case c.ImageSize <= 0 || c.ImageSize%smallest != 0:
		return fmt.Errorf("image_size is %d, %d levels need a multiple of %d", c.ImageSize, len(c.ChannelMult), smallest)
	case c.OutChannels != c.InChannels && c.OutChannels != 2*c.InChannels:
		return fmt.Errorf("the network has %d output channels, %d (noise) or %d (noise and variance) are wanted", c.OutChannels, c.InChannels, 2*c.InChannels)
	}
	for level, m := range c.ChannelMult {
		channels := m * c.ModelChannels
		if m <= 0 {
			return fmt.Errorf("channel_mult has %d, positive numbers are wanted", m)
		}
		if level != len(c.ChannelMult)-1 && !c.attends(1<<level) {
			continue
		}
		per := c.NumHeadChannels
		if per == -1 {
			per = c.NumHeads
		}
		if per <= 0 || channels%per != 0 {
			return fmt.Errorf("attention over %d channels can't have heads of num_head_channels %d (num_heads %d): give the right numbers in a JSON configuration", channels, c.NumHeadChannels, c.NumHeads)
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
		case "image_size", "in_channels", "model_channels", "out_channels", "num_res_blocks", "num_heads", "num_head_channels":
			n, err := number(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			known[name] = n
		case "attention_ds", "attention_resolutions", "channel_mult":
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
		case "file_format":
		default:
			if strict {
				return fmt.Errorf("unknown key %q; known are image_size, num_head_channels, num_heads, use_new_attention_order and the others of the training code's configuration", name)
			}
		}
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

func number(v any) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(fmt.Sprint(v)))
	if err != nil || n < -1 || bits.Len(uint(max(n, 0))) > 20 {
		return 0, fmt.Errorf("%.60q is not a sensible whole number", fmt.Sprint(v))
	}
	return n, nil
}

func numbers(v any) ([]int, error) {
	items, ok := v.([]any)
	if !ok {
		for _, s := range strings.Split(strings.Trim(fmt.Sprint(v), "[]() "), ",") {
			items = append(items, s)
		}
	}
	var out []int
	for _, i := range items {
		n, err := number(i)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}
