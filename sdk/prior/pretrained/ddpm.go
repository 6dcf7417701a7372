package pretrained

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// ddpm is the layout of the PyTorch port of DDPM (Ho et al. 2020; the celeba_hq and lsun
// checkpoints of DDIM's authors and of SDEdit).
func ddpm(from checkpoint.Source, override []byte) (*Architecture, error) {
	shape := func(name string) []int { t, _ := from.Info(name); return t.Shape }
	first, last := shape("conv_in.weight"), shape("conv_out.weight")
	if len(first) != 4 || len(last) != 4 || first[0] <= 0 {
		return nil, fmt.Errorf("tensors conv_in.weight and conv_out.weight have shapes %v and %v, four dimensions are wanted", first, last)
	}
	c := unet.Config{
		ModelChannels: first[0], InChannels: first[1], OutChannels: last[0], NumHeads: 1, NumHeadChannels: -1, NewAttentionOrder: true,
		Variant: unet.Variant{Eps: 1e-6, PadEnd: true, Embedding: network.Embedding{SinFirst: true, Shift: 1}},
	}
	blocks := map[int]int{} // of each level
	for _, name := range from.Names() {
		part := strings.Split(name, ".")
		if len(part) < 5 || part[0] != "down" || part[2] != "block" && part[2] != "attn" {
			continue
		}
		level, err := strconv.Atoi(part[1])
		index, err2 := strconv.Atoi(part[3])
		if err != nil || err2 != nil || level < 0 || level > 11 || index < 0 || index > 99 {
			return nil, fmt.Errorf("tensor %.100q: a level of at most 11 and a block of at most 99 are wanted", name)
		}
		if part[2] == "block" {
			blocks[level] = max(blocks[level], index+1)
		} else if !slices.Contains(c.AttentionDS, 1<<level) {
			c.AttentionDS = append(c.AttentionDS, 1<<level)
		}
	}
	for level := range len(blocks) {
		conv := shape(fmt.Sprintf("down.%d.block.0.conv1.weight", level))
		if len(conv) != 4 || conv[0] <= 0 || blocks[level] != blocks[0] {
			return nil, fmt.Errorf("level %d has %d blocks, the first of shape %v; each level has as many as level 0, %d, in this layout", level, blocks[level], conv, blocks[0])
		}
		c.ChannelMult = append(c.ChannelMult, float64(conv[0])/float64(c.ModelChannels))
	}
	c.NumResBlocks = blocks[0]
	c.ConvResample = len(blocks) == 1 || has("down.0.downsample.conv.weight")(from)
	c.ImageSize = 1 << (len(blocks) + 2)
	if len(c.AttentionDS) > 0 { // the published networks attend at 16×16 pixels
		slices.Sort(c.AttentionDS)
		c.ImageSize = 16 * c.AttentionDS[0]
	}
	if err := c.Override(override, "image_size", "noise_schedule", "diffusion_steps"); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	shortcut := "nin_shortcut"
	if slices.ContainsFunc(from.Names(), func(n string) bool { return strings.HasSuffix(n, ".conv_shortcut.weight") }) {
		shortcut = "conv_shortcut" // of 3×3 pixels in the port; refused by its shape
	}
	c.Aliases = naming{
		time: [2]string{"temb.dense.0", "temb.dense.1"}, in: "conv_in", norm: "norm_out", out: "conv_out",
		encoder:        func(level, i int) string { return fmt.Sprintf("down.%d.block.%d", level, i) },
		encoderAttends: func(level, i int) string { return fmt.Sprintf("down.%d.attn.%d", level, i) },
		down:           func(level int) string { return fmt.Sprintf("down.%d.downsample", level) },
		middle:         [2]string{"mid.block_1", "mid.block_2"}, middleAttends: "mid.attn_1",
		decoder:        func(level, i int) string { return fmt.Sprintf("up.%d.block.%d", level, i) },
		decoderAttends: func(level, i int) string { return fmt.Sprintf("up.%d.attn.%d", level, i) },
		up:             func(level int) string { return fmt.Sprintf("up.%d.upsample", level) },
		block: map[string]string{
			"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "temb_proj",
			"out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": shortcut,
		},
		attention: map[string][]string{"norm": {"norm"}, "qkv": {"q", "k", "v"}, "proj_out": {"proj_out"}},
	}.aliases(c)
	return unetArchitecture("UNet of DDPM's PyTorch port", from, c), nil
}
