package pretrained

import (
	"fmt"
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// edmBuilder records the network.
type edmBuilder struct {
	edmNetwork
	*compute.Graph
	from  checkpoint.Source
	song  bool
	emb   compute.Node
	heads map[string]int // of the attention block whose qkv layer has that name
	// filters are those of the modules, read once: graphs of other sizes are built when the
	// file is closed.
	filters map[string][]float64
	err     error
}

// build records the network, as its forward function applies it.
func (b *edmBuilder) build(height, width, channels, classes int) (*compute.Graph, error) {
	noise, embedding := b.noiseChannels(), b.rows("model.map_layer1")
	if noise < 2 || noise%2 != 0 || embedding < 1 {
		return nil, fmt.Errorf("the layers model.map_layer0 and model.map_layer1 of the noise level's embedding take %d and give %d values", noise, embedding)
	}
	beside := noise
	if classes > 0 && !b.song {
		beside += embedding
	}
	g, x, second := compute.NewGraph(channels, height, width, beside)
	b.Graph, b.err = g, nil
	emb, class := second, compute.NoNode
	if beside > noise {
		emb, class = g.Slice(second, 0, noise), g.Slice(second, noise, beside)
	}
	emb = b.linear(g.SiLU(b.linear(emb, "model.map_layer0")), "model.map_layer1")
	if class != compute.NoNode {
		emb = g.AddChannel(emb, class)
	}
	b.emb = g.SiLU(emb)

	aux, h := x, x
	var skips []compute.Node
	for _, name := range b.blocks("model.enc") {
		switch {
		case strings.HasSuffix(name, "_aux_down"):
			aux = b.conv(aux, name)
		case strings.HasSuffix(name, "_aux_skip") && len(skips) > 0:
			h = b.sum(h, b.conv(aux, name), 1)
			skips[len(skips)-1] = h
		case strings.HasSuffix(name, "_aux_residual") && len(skips) > 0:
			h = b.sum(h, b.conv(aux, name), math.Sqrt(0.5))
			skips[len(skips)-1], aux = h, h
		default:
			h = b.block(h, name)
			skips = append(skips, h)
		}
		if b.err != nil {
			return nil, b.err
		}
	}
	out, normed := compute.NoNode, compute.NoNode
	apply := func(name string) {
		switch {
		case strings.HasSuffix(name, "_aux_up") && out != compute.NoNode:
			out = b.conv(out, name)
		case strings.HasSuffix(name, "_aux_norm"), name == "model.out_norm":
			normed = b.norm(h, compute.NoNode, name, true)
		case (strings.HasSuffix(name, "_aux_conv") || name == "model.out_conv") && normed != compute.NoNode:
			next := b.conv(normed, name)
			if out != compute.NoNode {
				next = b.sum(next, out, 1)
			}
			out = next
		default:
			if c, _, _ := g.Shape(h); b.err == nil && c != int(b.number(name, "in_channels")) && len(skips) > 0 {
				h = b.concat(h, skips[len(skips)-1])
				skips = skips[:len(skips)-1]
			}
			h = b.block(h, name)
		}
	}
	for _, name := range append(b.blocks("model.dec"), "model.out_norm", "model.out_conv") {
		if b.has(name) {
			if apply(name); b.err != nil {
				return nil, b.err
			}
		}
	}
	if out == compute.NoNode {
		return nil, fmt.Errorf("the decoder has no output layer")
	}
	if c, h, w := g.Shape(out); c != channels || h != height || w != width || len(skips) > 0 {
		return nil, fmt.Errorf("the network gives %d×%d pixels of %d channels and leaves %d skips, images are %d×%d of %d", w, h, c, len(skips), width, height, channels)
	}
	g.SetOutput(out)
	return g, nil
}

// fail notes the first error; a node stands for what could not be built.
func (b *edmBuilder) fail(x compute.Node, format string, args ...any) compute.Node {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
	return x
}

func (b *edmBuilder) sameSize(x, y compute.Node) bool {
	_, h, w := b.Shape(x)
	_, h2, w2 := b.Shape(y)
	return h == h2 && w == w2
}

func (b *edmBuilder) concat(x, y compute.Node) compute.Node {
	if !b.sameSize(x, y) {
		return b.fail(x, "a skip joins pictures of different sizes")
	}
	return b.Concat(x, y)
}

// sum is scale·(x + y).
func (b *edmBuilder) sum(x, y compute.Node, scale float64) compute.Node {
	cx, _, _ := b.Shape(x)
	cy, _, _ := b.Shape(y)
	if cx != cy || !b.sameSize(x, y) {
		return b.fail(x, "pictures of different shapes are added")
	}
	return b.Sum(scale, x, y)
}

// block is a UNetBlock, or the convolution that an encoder begins with.
func (b *edmBuilder) block(x compute.Node, name string) compute.Node {
	switch class := b.byName[name].Class; {
	case class == "Conv2d":
		return b.conv(x, name)
	case class != "UNetBlock":
		return b.fail(x, "module %.100q is %.60q; UNetBlock and Conv2d are supported", name, class)
	}
	scale := b.number(name, "skip_scale")
	if !(scale > 0 && scale <= 1) {
		return b.fail(x, "module %.100q has skip_scale %g, a number in (0, 1] is wanted", name, scale)
	}
	h := b.conv(b.norm(x, compute.NoNode, name+".norm0", true), name+".conv0")
	if b.flag(name, "adaptive_scale") {
		h = b.norm(h, b.linear(b.emb, name+".affine"), name+".norm1", true)
	} else {
		h = b.norm(b.addChannel(h, b.linear(b.emb, name+".affine")), compute.NoNode, name+".norm1", true)
	}
	if b.has(name + ".skip") {
		x = b.conv(x, name+".skip")
	}
	h = b.sum(b.conv(h, name+".conv1"), x, scale)
	heads := int(b.number(name, "num_heads"))
	if heads <= 0 || b.err != nil {
		return h
	}
	c, _, _ := b.Shape(h)
	if c%heads != 0 || b.rows(name+".qkv") != 3*c {
		return b.fail(h, "module %.100q attends with %d heads over %d channels, and its layer qkv gives %d", name, heads, c, b.rows(name+".qkv"))
	}
	b.heads[name+".qkv"] = heads
	a := b.Attention(b.conv(b.norm(h, compute.NoNode, name+".norm2", false), name+".qkv"), compute.Heads{Count: heads})
	return b.sum(b.conv(a, name+".proj"), h, scale)
}

func (b *edmBuilder) addChannel(x, e compute.Node) compute.Node {
	cx, _, _ := b.Shape(x)
	if ce, _, _ := b.Shape(e); ce != cx {
		return b.fail(x, "%d values are added to %d channels", ce, cx)
	}
	return b.AddChannel(x, e)
}

// rows returns the outputs of a layer by its weight's shape.
func (b *edmBuilder) rows(name string) int {
	t, _ := b.from.Info(name + ".weight")
	if len(t.Shape) < 2 || t.Shape[0] > 1<<20 {
		return 0
	}
	return t.Shape[0]
}

func (b *edmBuilder) linear(x compute.Node, name string) compute.Node {
	if b.rows(name) == 0 {
		return b.fail(x, "tensor %.100q is missing, or no matrix", name+".weight")
	}
	return b.Conv(x, compute.Layer{Name: name, Out: b.rows(name), Kernel: 1, Rank: 2})
}

func (b *edmBuilder) norm(x, scaleShift compute.Node, name string, silu bool) compute.Node {
	c, _, _ := b.Shape(x)
	groups := int(b.number(name, "num_groups"))
	if groups < 1 || c%groups != 0 {
		return b.fail(x, "module %.100q has %d groups for %d channels", name, groups, c)
	}
	if scaleShift != compute.NoNode {
		if cs, _, _ := b.Shape(scaleShift); cs != 2*c {
			return b.fail(x, "module %.100q is scaled and shifted by %d values for %d channels", name, cs, c)
		}
	}
	return b.GroupNorm(x, scaleShift, compute.NormLayer{Name: name, Groups: groups, Eps: float32(b.number(name, "eps")), SiLU: silu})
}
