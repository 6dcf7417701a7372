// Package unet is the noise-predicting network of guided diffusion (Dhariwal &
// Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis"), in all variants
// of its released code. State dicts load by their own names.
package unet

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// build records the network. It reads from top to bottom like the paper's
// figure: time embedding, encoder, middle, decoder, head. Names are the state
// dict's.
func build(c Config, height, width int) *compute.Graph {
	wide, beside := 4*c.ModelChannels, c.ModelChannels
	if c.NumClasses > 0 {
		beside += wide // the embedding of the class
	}
	g, x, timestep := compute.NewGraph(c.InChannels, height, width, beside)
	n := layers{Graph: g, Config: c}

	// SiLU(emb) is what every residual block takes of the embeddings of time and class.
	class := compute.NoNode
	if c.NumClasses > 0 {
		timestep, class = n.Slice(timestep, 0, c.ModelChannels), n.Slice(timestep, c.ModelChannels, beside)
	}
	emb := n.linear(n.SiLU(n.linear(timestep, "time_embed.0", wide)), "time_embed.2", wide)
	if class != compute.NoNode {
		emb = n.AddChannel(emb, class)
	}
	n.emb = n.SiLU(emb)

	h := n.conv(x, "input_blocks.0.0", c.width(0))
	skips, block, factor := []compute.Node{h}, 1, 1
	for level := range c.ChannelMult {
		for range c.NumResBlocks {
			name := fmt.Sprintf("input_blocks.%d", block)
			h = n.resBlock(h, name+".0", c.width(level), keep)
			if c.attends(factor) {
				h = n.attention(h, name+".1")
			}
			skips, block = append(skips, h), block+1
		}
		if level < len(c.ChannelMult)-1 {
			h = n.down(h, fmt.Sprintf("input_blocks.%d.0", block))
			skips, block, factor = append(skips, h), block+1, factor*2
		}
	}

	deepest := c.width(len(c.ChannelMult) - 1)
	h = n.resBlock(h, "middle_block.0", deepest, keep)
	if !c.PlainMiddle {
		h = n.attention(h, "middle_block.1")
	}
	h = n.resBlock(h, "middle_block.2", deepest, keep)

	block = 0
	for level := len(c.ChannelMult) - 1; level >= 0; level-- {
		for i := range c.NumResBlocks + 1 {
			name, module := fmt.Sprintf("output_blocks.%d", block), 1
			h = n.Concat(h, skips[len(skips)-1])
			skips, block = skips[:len(skips)-1], block+1
			h = n.resBlock(h, name+".0", c.width(level), keep)
			if c.attends(factor) {
				h = n.attention(h, fmt.Sprintf("%s.%d", name, module))
				module++
			}
			if level > 0 && i == c.NumResBlocks {
				h = n.up(h, fmt.Sprintf("%s.%d", name, module))
				factor /= 2
			}
		}
	}

	h = n.norm(h, compute.NoNode, "out.0", true)
	g.SetOutput(n.conv(h, "out.2", c.OutChannels))
	return g
}

type layers struct {
	*compute.Graph
	Config
	emb compute.Node
}

// scaling is what a residual block does to the resolution.
type scaling int

const (
	keep scaling = iota
	halve
	double
)

func (n layers) rescale(x compute.Node, s scaling) compute.Node {
	switch s {
	case halve:
		return n.Resample(x, compute.SumDown2, 0.25) // 2×2 mean
	case double:
		return n.Resample(x, compute.Up2, 1)
	}
	return x
}

// resBlock is skip(x) + conv(SiLU(norm(conv(rescale(SiLU(norm x))), emb))).
func (n layers) resBlock(x compute.Node, name string, out int, s scaling) compute.Node {
	h := n.norm(x, compute.NoNode, name+".in_layers.0", true)
	h = n.conv(n.rescale(h, s), name+".in_layers.2", out)
	x = n.rescale(x, s)

	if n.ScaleShift {
		h = n.norm(h, n.linear(n.emb, name+".emb_layers.1", 2*out), name+".out_layers.0", true)
	} else {
		h = n.AddChannel(h, n.linear(n.emb, name+".emb_layers.1", out))
		h = n.norm(h, compute.NoNode, name+".out_layers.0", true)
	}

	if in, _, _ := n.Shape(x); in != out {
		x = n.Conv(x, compute.Layer{Name: name + ".skip_connection", Out: out, Kernel: 1})
	}
	return n.ConvAdd(h, x, compute.Layer{Name: name + ".out_layers.3", Out: out, Kernel: 3})
}

// attention is x + proj(attention(qkv(norm x))) over all pixels.
func (n layers) attention(x compute.Node, name string) compute.Node {
	c, _, _ := n.Shape(x)
	h := n.norm(x, compute.NoNode, name+".norm", false)
	h = n.Conv(h, compute.Layer{Name: name + ".qkv", Out: 3 * c, Kernel: 1, Rank: 3})
	h = n.Attention(h, compute.Heads{Count: n.heads(c), Split: n.NewAttentionOrder})
	return n.ConvAdd(h, x, compute.Layer{Name: name + ".proj_out", Out: c, Kernel: 1, Rank: 3})
}

func (n layers) down(x compute.Node, name string) compute.Node {
	c, _, _ := n.Shape(x)
	switch {
	case n.ResblockUpdown:
		return n.resBlock(x, name, c, halve)
	case n.ConvResample && n.PadEnd:
		return n.odd(n.conv(x, name+".op", c))
	case n.ConvResample: // a convolution with stride 2 keeps every second result
		return n.Resample(n.conv(x, name+".op", c), compute.Subsample2, 1)
	}
	return n.rescale(x, halve)
}

// odd keeps odd rows and columns: those of a convolution with stride 2 whose padding lies below
// and to the right alone.
func (n layers) odd(x compute.Node) compute.Node {
	_, h, w := n.Shape(x)
	choose := func(size int) []float32 {
		m := make([]float32, size/2*size)
		for i := range size / 2 {
			m[i*size+2*i+1] = 1
		}
		return m
	}
	return n.Separable(x, choose(h), choose(w))
}

func (n layers) up(x compute.Node, name string) compute.Node {
	c, _, _ := n.Shape(x)
	switch {
	case n.ResblockUpdown:
		return n.resBlock(x, name, c, double)
	case n.ConvResample:
		return n.conv(n.rescale(x, double), name+".conv", c)
	}
	return n.rescale(x, double)
}

func (n layers) conv(x compute.Node, name string, out int) compute.Node {
	return n.Conv(x, compute.Layer{Name: name, Out: out, Kernel: 3})
}

func (n layers) linear(x compute.Node, name string, out int) compute.Node {
	return n.Conv(x, compute.Layer{Name: name, Out: out, Kernel: 1, Rank: 2})
}

func (n layers) norm(x, scaleShift compute.Node, name string, silu bool) compute.Node {
	return n.GroupNorm(x, scaleShift, compute.NormLayer{Name: name, Groups: n.groups(), Eps: n.eps(), SiLU: silu})
}
