package unet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
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
	NumClasses        int       `json:"num_classes"`     // of a class-conditional network, else 0
	Predicts          string    `json:"prediction_type"` // sample (x0) or v_prediction; empty stands for the noise
	// RescaleTimesteps says that the network takes 1000·t/T for the timestep t, as those of
	// improved-diffusion do.
	RescaleTimesteps bool `json:"rescale_timesteps"`

	// Variant is how a network of another library differs.
	Variant `json:"-"`

	// Assumed are the keys, with their values, that neither the checkpoint nor the caller gives.
	Assumed []string `json:"-"`
}

// Variant is what networks of the same plan have in other libraries: DDPM's PyTorch port and
// diffusers. The zero value is guided diffusion's.
type Variant struct {
	Groups      int               // of normalisations; 0 stands for 32
	Eps         float32           // of normalisations; 0 stands for 1e-5
	PadEnd      bool              // strided convolutions pad below and to the right alone
	PlainMiddle bool              // no attention between encoder and decoder
	Embedding   network.Embedding // of the timestep
	Betas       []float64         // of the noise schedule, where it is none of [diffusion.Betas]
	Aliases     network.Aliases   // names of the tensors, where they are others
}

// predictions are what a network can predict beside the noise, by the name that diffusers has.
var predictions = map[string]diffusion.Prediction{"sample": diffusion.PredictsImage, "v_prediction": diffusion.PredictsVelocity}

func (c Config) steps() int { return cmp.Or(c.Steps, len(c.Betas), 1000) }

func (v Variant) groups() int { return cmp.Or(v.Groups, 32) }

func (v Variant) eps() float32 { return cmp.Or(v.Eps, 1e-5) }

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
	switch {
	case c.NumHeadChannels == -1 && c.NumHeads == 1:
		return "1 head"
	case c.NumHeadChannels == -1:
		return fmt.Sprintf("%d heads", c.NumHeads)
	}
	return fmt.Sprintf("heads of %d channels", c.NumHeadChannels)
}

// Describe returns lines for people.
func (c Config) Describe() []string {
	variance := "no learned variance"
	if c.LearnedVariance() {
		variance = "learned variance"
	}
	classes := ""
	if c.NumClasses > 0 {
		classes = fmt.Sprintf(", %d classes", c.NumClasses)
	}
	what := map[string]string{"": "the noise", "sample": "the clean image", "v_prediction": "v"}[c.Predicts]
	return []string{
		fmt.Sprintf("%d×%d pixels of %d channels, %d channels × %v, %d residual blocks a level, attention at factors %v, %s%s",
			c.ImageSize, c.ImageSize, c.InChannels, c.ModelChannels, c.ChannelMult, c.NumResBlocks, c.AttentionDS, variance, classes),
		fmt.Sprintf("%s, new attention order %v, scale-shift norm %v, residual up/down %v; predicts %s; schedule %s over %d steps",
			c.Heads(), c.NewAttentionOrder, c.ScaleShift, c.ResblockUpdown, what, cmp.Or(c.NoiseSchedule, "linear"), c.steps()),
	}
}

// LearnedVariance says whether the output holds variance channels.
func (c Config) LearnedVariance() bool { return c.OutChannels == 2*c.InChannels }

// maxResBlocks bounds the residual blocks of a level, of which the released networks have 2 or 3.
const maxResBlocks = 100

// maxClasses bounds the classes of a network, of which the released ones have 1000.
const maxClasses = 1 << 16

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
	case c.NumClasses < 0 || c.NumClasses > maxClasses:
		return fmt.Errorf("num_classes is %d, at most %d are wanted", c.NumClasses, maxClasses)
	case c.Predicts != "" && predictions[c.Predicts] == nil:
		return fmt.Errorf("prediction_type is %.60q; epsilon, sample or v_prediction is wanted", c.Predicts)
	case c.Predicts != "" && c.OutChannels != c.InChannels:
		return fmt.Errorf("prediction_type is %s with a learned variance: supported with the noise alone", c.Predicts)
	case c.OutChannels != c.InChannels && c.OutChannels != 2*c.InChannels:
		return fmt.Errorf("the network has %d output channels, %d (noise) or %d (noise and variance) are wanted", c.OutChannels, c.InChannels, 2*c.InChannels)
	}
	for level, m := range c.ChannelMult {
		if !(m > 0 && m <= 1<<10) {
			return fmt.Errorf("channel_mult has %g, positive numbers are wanted", m)
		}
		channels := c.width(level)
		if channels == 0 || channels%c.groups() != 0 {
			return fmt.Errorf("level %d has %d channels (model_channels %d × %g), a multiple of %d (the normalisations' groups) is wanted", level, channels, c.ModelChannels, m, c.groups())
		}
		if (level != len(c.ChannelMult)-1 || c.PlainMiddle) && !c.attends(1<<level) {
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
		case "rescale_timesteps":
			known[name] = truth(value)
		case "prediction_type":
			known[name] = value
			if value == "epsilon" {
				known[name] = ""
			}
		case "predict_xstart":
			if truth(value) {
				known["prediction_type"] = "sample"
			}
		case "class_cond", "learn_sigma", "num_classes":
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
	if v := said("class_cond"); (v == "true" || v == "false") && (v == "true") != (c.NumClasses > 0) {
		return fmt.Errorf("class_cond is %s, but the network has %d classes (label_emb)", v, c.NumClasses)
	}
	if v := said("num_classes"); v != "" && v != "none" && v != "null" && c.NumClasses > 0 && v != strconv.Itoa(c.NumClasses) {
		return fmt.Errorf("num_classes is %.20s, but the network has %d classes (label_emb)", v, c.NumClasses)
	}
	if v := said("learn_sigma"); (v == "true" || v == "false") && (v == "true") != c.LearnedVariance() {
		return fmt.Errorf("learn_sigma is %s, but the network has %d output channels for %d input channels", v, c.OutChannels, c.InChannels)
	}
	return nil
}

// truth reads a boolean, which may be text.
func truth(v any) bool { return strings.EqualFold(fmt.Sprint(v), "true") }

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
