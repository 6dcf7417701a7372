package pretrained

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// The keys of a checkpoint's metadata under which [Open] keeps the texts of diffusers' files.
const (
	unetConfig      = "unet/config.json"
	schedulerConfig = "scheduler/scheduler_config.json"
)

// diffusersUNet is the configuration of a UNet2DModel. Pointers are what older versions lack.
type diffusersUNet struct {
	Class          string          `json:"_class_name"`
	SampleSize     any             `json:"sample_size"`
	InChannels     int             `json:"in_channels"`
	OutChannels    int             `json:"out_channels"`
	Center         bool            `json:"center_input_sample"`
	TimeEmbedding  string          `json:"time_embedding_type"`
	TimeDim        *int            `json:"time_embedding_dim"`
	FreqShift      float64         `json:"freq_shift"`
	FlipSinToCos   *bool           `json:"flip_sin_to_cos"`
	Down           []string        `json:"down_block_types"`
	Up             []string        `json:"up_block_types"`
	Middle         string          `json:"mid_block_type"`
	Widths         []int           `json:"block_out_channels"`
	Layers         int             `json:"layers_per_block"`
	MiddleScale    float64         `json:"mid_block_scale_factor"`
	Padding        *int            `json:"downsample_padding"`
	DownType       string          `json:"downsample_type"`
	UpType         string          `json:"upsample_type"`
	Activation     string          `json:"act_fn"`
	HeadDim        json.RawMessage `json:"attention_head_dim"`
	Groups         int             `json:"norm_num_groups"`
	MiddleGroups   *int            `json:"attn_norm_num_groups"`
	Eps            float64         `json:"norm_eps"`
	ScaleShift     string          `json:"resnet_time_scale_shift"`
	AddAttention   *bool           `json:"add_attention"`
	ClassEmbedding string          `json:"class_embed_type"`
	Classes        *int            `json:"num_class_embeds"`
}

// diffusersScheduler is the configuration of a scheduler.
type diffusersScheduler struct {
	Steps      int       `json:"num_train_timesteps"`
	First      float64   `json:"beta_start"`
	Last       float64   `json:"beta_end"`
	Schedule   string    `json:"beta_schedule"`
	Trained    []float64 `json:"trained_betas"`
	Prediction string    `json:"prediction_type"`
	Rescaled   bool      `json:"rescale_betas_zero_snr"`
	Clip       *bool     `json:"clip_sample"`
	ClipRange  *float64  `json:"clip_sample_range"`
	Threshold  bool      `json:"thresholding"`
}

// diffusers is the layout of UNet2DModel of Hugging Face's diffusers, with its own names of
// 2022 or later.
func diffusers(from checkpoint.Source, override []byte) (*Architecture, error) {
	texts := from.Metadata()
	if texts[unetConfig] == "" {
		return nil, errNoConfig
	}
	var u diffusersUNet
	if err := json.Unmarshal([]byte(texts[unetConfig]), &u); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	c, err := u.config()
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	var notes, untold []string
	if text := texts[schedulerConfig]; text == "" {
		untold = []string{"noise_schedule", "diffusion_steps"}
		c.Assumed = append(c.Assumed, "prediction_type epsilon")
	} else {
		var s diffusersScheduler
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fmt.Errorf("scheduler_config.json: %w", err)
		}
		if notes, err = s.apply(&c); err != nil {
			return nil, fmt.Errorf("scheduler_config.json: %w", err)
		}
	}
	if err := c.Override(override, untold...); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Aliases = diffusersNames(from, c).aliases(c)
	a := unetArchitecture("UNet2DModel of diffusers", from, c)
	a.Summary = append(a.Summary, notes...)
	return a, nil
}

// config translates what UNet2DModel is made of.
func (u diffusersUNet) config() (c unet.Config, err error) {
	is := func(value string, wanted ...string) bool { return value == "" || slices.Contains(wanted, value) }
	switch {
	case !is(u.Class, "UNet2DModel"):
		return c, fmt.Errorf("_class_name is %.60q: UNet2DModel is supported, networks that take a text or a latent are not", u.Class)
	case len(u.Widths) == 0 || len(u.Down) != len(u.Widths) || len(u.Up) != len(u.Widths) || len(u.Widths) > 12:
		return c, fmt.Errorf("block_out_channels, down_block_types and up_block_types have %d, %d and %d entries, as many of each are wanted, at most 12", len(u.Widths), len(u.Down), len(u.Up))
	case u.Center:
		return c, fmt.Errorf("center_input_sample is true, false is supported")
	case !is(u.TimeEmbedding, "positional"):
		return c, fmt.Errorf("time_embedding_type is %.60q, positional is supported", u.TimeEmbedding)
	case u.TimeDim != nil && *u.TimeDim != 4*u.Widths[0]:
		return c, fmt.Errorf("time_embedding_dim is %d, four times the first width is supported", *u.TimeDim)
	case !is(u.Activation, "silu", "swish"):
		return c, fmt.Errorf("act_fn is %.60q, silu is supported", u.Activation)
	case u.ClassEmbedding != "":
		return c, fmt.Errorf("class_embed_type is %.60q; classes by number (num_class_embeds) are supported", u.ClassEmbedding)
	case u.MiddleScale != 0 && u.MiddleScale != 1:
		return c, fmt.Errorf("mid_block_scale_factor is %g, 1 is supported", u.MiddleScale)
	case u.MiddleGroups != nil && *u.MiddleGroups != u.Groups:
		return c, fmt.Errorf("attn_norm_num_groups is %d, norm_num_groups %d: the same are supported", *u.MiddleGroups, u.Groups)
	case !is(u.DownType, "conv", "resnet") || !is(u.UpType, "conv", "resnet"):
		return c, fmt.Errorf("downsample_type %.60q, upsample_type %.60q: conv and resnet are supported", u.DownType, u.UpType)
	case !is(u.ScaleShift, "default", "scale_shift"):
		return c, fmt.Errorf("resnet_time_scale_shift is %.60q, default and scale_shift are supported", u.ScaleShift)
	case !is(u.Middle, "UNetMidBlock2D"):
		return c, fmt.Errorf("mid_block_type is %.60q, UNetMidBlock2D is supported", u.Middle)
	case u.Padding != nil && *u.Padding != 0 && *u.Padding != 1:
		return c, fmt.Errorf("downsample_padding is %d, 0 and 1 are supported", *u.Padding)
	}
	c = unet.Config{
		ModelChannels: u.Widths[0], InChannels: u.InChannels, OutChannels: u.OutChannels, NumResBlocks: u.Layers,
		NumHeads: 1, NumHeadChannels: -1, NewAttentionOrder: true, ConvResample: true, ScaleShift: u.ScaleShift == "scale_shift",
		Variant: unet.Variant{
			Groups: u.Groups, Eps: float32(u.Eps), PadEnd: u.Padding != nil && *u.Padding == 0, PlainMiddle: u.AddAttention != nil && !*u.AddAttention,
			Embedding: network.Embedding{SinFirst: u.FlipSinToCos != nil && !*u.FlipSinToCos, Shift: u.FreqShift},
		},
	}
	switch size := u.SampleSize.(type) {
	case float64:
		c.ImageSize = int(size)
	case []any:
		if len(size) == 2 && size[0] == size[1] {
			if side, ok := size[0].(float64); ok {
				c.ImageSize = int(side)
			}
		}
	}
	if c.ImageSize <= 0 || c.ImageSize > 1<<16 {
		return c, fmt.Errorf("sample_size is %.60q, a side in pixels is wanted", fmt.Sprint(u.SampleSize))
	}
	switch text := string(u.HeadDim); text {
	case "null": // one head
	case "": // the library's default
		c.NumHeadChannels = 8
	default:
		if c.NumHeadChannels, err = strconv.Atoi(text); err != nil || c.NumHeadChannels < 1 {
			return c, fmt.Errorf("attention_head_dim is %.60q, a positive number or null is wanted", text)
		}
	}
	if u.Classes != nil {
		c.NumClasses = *u.Classes
	}
	return c, u.levels(&c)
}

// levels reads the kinds of blocks.
func (u diffusersUNet) levels(c *unet.Config) error {
	resnets := map[bool]int{} // levels that resample by a residual block, and those by a convolution
	for level, kind := range u.Down {
		attends := kind == "AttnDownBlock2D"
		mirror := u.Up[len(u.Up)-1-level]
		known := slices.Contains([]string{"DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"}, kind) &&
			slices.Contains([]string{"UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"}, mirror)
		if !known || attends != (mirror == "AttnUpBlock2D") {
			return fmt.Errorf("level %d is %.60q in the encoder and %.60q in the decoder: DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D and their counterparts are supported, attention in both or in neither", level, kind, mirror)
		}
		c.ChannelMult = append(c.ChannelMult, float64(u.Widths[level])/float64(u.Widths[0]))
		if attends {
			c.AttentionDS = append(c.AttentionDS, 1<<level)
		}
		if level < len(u.Down)-1 {
			resnets[kind == "ResnetDownsampleBlock2D" || attends && u.DownType == "resnet"]++
		}
		if level > 0 {
			resnets[mirror == "ResnetUpsampleBlock2D" || attends && u.UpType == "resnet"]++
		}
	}
	if len(resnets) > 1 {
		return fmt.Errorf("some levels resample by residual blocks, others by convolutions: one way is supported")
	}
	c.ResblockUpdown = resnets[true] > 0
	return nil
}

// apply sets what the scheduler says of the training, and returns lines for people.
func (s diffusersScheduler) apply(c *unet.Config) (notes []string, err error) {
	switch s.Prediction {
	case "", "epsilon":
	case "sample", "v_prediction":
		c.Predicts = s.Prediction
	default:
		return nil, fmt.Errorf("prediction_type is %.60q; epsilon, sample and v_prediction are supported", s.Prediction)
	}
	if s.Rescaled {
		return nil, fmt.Errorf("rescale_betas_zero_snr is true: a schedule that ends in noise alone has no predicted noise there; false is supported")
	}
	if s.Steps < 1 || s.Steps > 1<<20 {
		return nil, fmt.Errorf("num_train_timesteps is %d, at least 1 is wanted", s.Steps)
	}
	c.Steps = s.Steps
	switch {
	case len(s.Trained) > 0:
		if len(s.Trained) != s.Steps {
			return nil, fmt.Errorf("trained_betas has %d entries for %d steps", len(s.Trained), s.Steps)
		}
		c.NoiseSchedule, c.Betas = "trained_betas", s.Trained
		_, err = diffusion.New(s.Trained, 1) // checks them
	case s.Schedule == "linear":
		c.NoiseSchedule = "linear"
		if s.First != 1e-4 || s.Last != 0.02 || s.Steps != 1000 {
			c.NoiseSchedule = fmt.Sprintf("linear %g to %g", s.First, s.Last)
		}
		c.Betas, err = diffusion.LinearBetas(s.Steps, s.First, s.Last)
	case s.Schedule == "scaled_linear":
		c.NoiseSchedule = fmt.Sprintf("scaled_linear %g to %g", s.First, s.Last)
		c.Betas, err = diffusion.ScaledLinearBetas(s.Steps, s.First, s.Last)
	case s.Schedule == "sigmoid":
		c.NoiseSchedule = fmt.Sprintf("sigmoid %g to %g", s.First, s.Last)
		c.Betas, err = diffusion.SigmoidBetas(s.Steps, s.First, s.Last)
	case s.Schedule == "squaredcos_cap_v2":
		c.NoiseSchedule = "cosine"
		c.Betas, err = diffusion.Cosine(s.Steps)
	default:
		err = fmt.Errorf("beta_schedule is %.60q; linear, scaled_linear, squaredcos_cap_v2 and sigmoid are supported", s.Schedule)
	}
	if s.Clip != nil && !*s.Clip || s.Threshold || s.ClipRange != nil && *s.ClipRange != 1 {
		notes = append(notes, "the scheduler does not clip x̂0 to [−1, 1]; methods here clip it where they say so")
	}
	return notes, err
}

// diffusersNames are those of the library; attention was renamed at the end of 2022.
func diffusersNames(from checkpoint.Source, c unet.Config) naming {
	old := slices.ContainsFunc(from.Names(), func(n string) bool { return strings.HasSuffix(n, ".query.weight") })
	attention := map[string][]string{"norm": {"group_norm"}, "qkv": {"to_q", "to_k", "to_v"}, "proj_out": {"to_out.0"}}
	if old {
		attention = map[string][]string{"norm": {"group_norm"}, "qkv": {"query", "key", "value"}, "proj_out": {"proj_attn"}}
	}
	mirror := len(c.ChannelMult) - 1
	return naming{
		time: [2]string{"time_embedding.linear_1", "time_embedding.linear_2"}, class: "class_embedding.weight",
		in: "conv_in", norm: "conv_norm_out", out: "conv_out",
		encoder:        func(level, i int) string { return fmt.Sprintf("down_blocks.%d.resnets.%d", level, i) },
		encoderAttends: func(level, i int) string { return fmt.Sprintf("down_blocks.%d.attentions.%d", level, i) },
		down:           func(level int) string { return fmt.Sprintf("down_blocks.%d.downsamplers.0", level) },
		middle:         [2]string{"mid_block.resnets.0", "mid_block.resnets.1"}, middleAttends: "mid_block.attentions.0",
		decoder:        func(level, i int) string { return fmt.Sprintf("up_blocks.%d.resnets.%d", mirror-level, i) },
		decoderAttends: func(level, i int) string { return fmt.Sprintf("up_blocks.%d.attentions.%d", mirror-level, i) },
		up:             func(level int) string { return fmt.Sprintf("up_blocks.%d.upsamplers.0", mirror-level) },
		block: map[string]string{
			"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
			"out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
		},
		attention: attention,
	}
}
