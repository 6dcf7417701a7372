package pretrained

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// naming is what a library calls the parts of a network that is built as
// [unet.Config] says. A level counts from the full resolution, an index within its level.
type naming struct {
	time           [2]string // the two layers after the timestep's embedding
	class          string    // the classes' embedding
	in, norm, out  string    // first convolution, last normalisation, last convolution
	encoder        func(level, index int) string
	encoderAttends func(level, index int) string
	down           func(level int) string // a strided convolution, or a residual block
	middle         [2]string
	middleAttends  string
	decoder        func(level, index int) string
	decoderAttends func(level, index int) string
	up             func(level int) string
	block          map[string]string   // the layers of a residual block, by guided diffusion's names
	attention      map[string][]string // those of an attention block; several are joined
}

// aliases returns the tensors of each name of guided diffusion.
func (n naming) aliases(c unet.Config) network.Aliases {
	all := network.Aliases{"label_emb.weight": {n.class}}
	layer := func(name string, theirs ...string) {
		for _, part := range []string{".weight", ".bias"} {
			var tensors []string
			for _, t := range theirs {
				tensors = append(tensors, t+part)
			}
			all[name+part] = tensors
		}
	}
	block := func(name, theirs string) {
		for ours, their := range n.block {
			layer(name+"."+ours, theirs+"."+their)
		}
	}
	attention := func(name, theirs string) {
		for ours, parts := range n.attention {
			var joined []string
			for _, p := range parts {
				joined = append(joined, theirs+"."+p)
			}
			layer(name+"."+ours, joined...)
		}
	}
	attends := func(level int) bool {
		for _, factor := range c.AttentionDS {
			if factor == 1<<level {
				return true
			}
		}
		return false
	}

	layer("time_embed.0", n.time[0])
	layer("time_embed.2", n.time[1])
	layer("input_blocks.0.0", n.in)
	number, last := 1, len(c.ChannelMult)-1
	for level := range c.ChannelMult {
		for i := range c.NumResBlocks {
			name := fmt.Sprintf("input_blocks.%d", number)
			block(name+".0", n.encoder(level, i))
			attention(name+".1", n.encoderAttends(level, i))
			number++
		}
		if level < last {
			name := fmt.Sprintf("input_blocks.%d.0", number)
			block(name, n.down(level))
			layer(name+".op", n.down(level)+".conv")
			number++
		}
	}
	block("middle_block.0", n.middle[0])
	attention("middle_block.1", n.middleAttends)
	block("middle_block.2", n.middle[1])
	number = 0
	for level := last; level >= 0; level-- {
		for i := range c.NumResBlocks + 1 {
			name, module := fmt.Sprintf("output_blocks.%d", number), 1
			block(name+".0", n.decoder(level, i))
			if attends(level) {
				attention(name+".1", n.decoderAttends(level, i))
				module++
			}
			if level > 0 && i == c.NumResBlocks {
				up := fmt.Sprintf("%s.%d", name, module)
				block(up, n.up(level))
				layer(up+".conv", n.up(level)+".conv")
			}
			number++
		}
	}
	layer("out.0", n.norm)
	layer("out.2", n.out)
	return all
}
