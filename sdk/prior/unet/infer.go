package unet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Shapes tells the names and shapes of a checkpoint's tensors.
type Shapes interface {
	Names() []string
	Shape(name string) ([]int, bool)
}

// Infer reads the configuration off a checkpoint's names and shapes. What they
// can't tell is set to what the released networks have: heads of 64 channels,
// the legacy attention order, and the image size that goes with the number of
// levels (64 for 4, 128 for 5, 256 for 6, 512 for 7).
func Infer(s Shapes) (Config, error) {
	first, ok := s.Shape("input_blocks.0.0.weight")
	if !ok || len(first) != 4 || first[0] <= 0 {
		return Config{}, fmt.Errorf("not a guided-diffusion UNet: there is no tensor input_blocks.0.0.weight of four dimensions")
	}
	last, ok := s.Shape("out.2.weight")
	if !ok || len(last) != 4 {
		return Config{}, fmt.Errorf("not a guided-diffusion UNet: there is no tensor out.2.weight of four dimensions")
	}
	embed, ok := s.Shape("time_embed.0.weight") // [4 × model_channels, model_channels]
	if !ok || len(embed) != 2 || embed[1] <= 0 || embed[0] != 4*embed[1] {
		return Config{}, fmt.Errorf("not a guided-diffusion UNet: tensor time_embed.0.weight has shape %v, [4 n, n] is wanted", embed)
	}
	c := Config{ModelChannels: embed[1], InChannels: first[1], OutChannels: last[0], NumHeads: 4, NumHeadChannels: 64}

	if label, ok := s.Shape("label_emb.weight"); ok && len(label) == 2 {
		c.NumClasses = label[0]
	}
	names := s.Names()
	blocks := func(side string) (seen map[int]bool, count int) {
		seen = map[int]bool{}
		for _, name := range names {
			number, _, _ := strings.Cut(strings.TrimPrefix(name, side+"."), ".")
			if i, err := strconv.Atoi(number); err == nil && strings.HasPrefix(name, side+".") && i >= 0 && i < 1000 {
				seen[i], count = true, max(count, i+1)
			}
		}
		return seen, count
	}
	has := func(name string) bool { _, ok := s.Shape(name); return ok }

	// One encoder block between levels halves the resolution. It is a residual
	// block (then the decoder's counterpart is a second residual block of its
	// block), a strided convolution, or a mean without tensors (a gap in the
	// numbering).
	inputs, nIn := blocks("input_blocks")
	_, nOut := blocks("output_blocks")
	levels := 1
	for i := range nOut {
		if has(fmt.Sprintf("output_blocks.%d.1.in_layers.2.weight", i)) || has(fmt.Sprintf("output_blocks.%d.2.in_layers.2.weight", i)) {
			c.ResblockUpdown = true
			levels++
		}
	}
	c.ConvResample = slices.ContainsFunc(names, func(n string) bool {
		return strings.HasPrefix(n, "input_blocks.") && strings.HasSuffix(n, ".0.op.weight")
	})
	if !c.ResblockUpdown {
		for i := range nIn {
			if !inputs[i] || has(fmt.Sprintf("input_blocks.%d.0.op.weight", i)) {
				levels++
			}
		}
	}
	if c.ResblockUpdown || levels == 1 {
		c.ConvResample = true // does not matter; the training code's default
	}
	if nOut == 0 || nOut%levels != 0 || nOut/levels < 2 || nIn != nOut {
		return c, fmt.Errorf("not a guided-diffusion UNet: %d encoder and %d decoder blocks do not make %d levels", nIn, nOut, levels)
	}
	c.NumResBlocks = nOut/levels - 1
	c.ImageSize = 1 << (levels + 2)

	for level := range levels {
		block := fmt.Sprintf("input_blocks.%d", 1+level*(c.NumResBlocks+1))
		conv, ok := s.Shape(block + ".0.in_layers.2.weight")
		if !ok || len(conv) != 4 || conv[0] <= 0 || conv[0]%32 != 0 {
			return c, fmt.Errorf("tensor %s.0.in_layers.2.weight has shape %v, [a multiple of 32, ·, 3, 3] is wanted", block, conv)
		}
		c.ChannelMult = append(c.ChannelMult, float64(conv[0])/float64(c.ModelChannels))
		if has(block + ".1.qkv.weight") {
			c.AttentionDS = append(c.AttentionDS, 1<<level)
		}
		if level == 0 {
			emb, ok := s.Shape(block + ".0.emb_layers.1.weight")
			c.ScaleShift = ok && len(emb) == 2 && emb[0] == 2*conv[0]
		}
	}
	return c, nil
}
