package compute

import "fmt"

// Source holds a network's weights by name. Floats checks that the tensor is
// there with that shape.
type Source interface {
	Floats(name string, shape ...int) ([]float32, error)
}

// Graph records a network as a list of primitive operations in the order in
// which they run. Build it once with the methods below, then [Graph.Compile] it
// for a device and a batch size.
//
// Values are named by [Node]. A node that does not depend on the input x (the
// time embedding's path) has no derivative.
type Graph struct {
	nodes []node
	input Node // x
	aux   Node // the embedding of the timestep
	out   Node
}

// Node names a value in a graph.
type Node int

// NoNode stands for an absent argument.
const NoNode Node = -1

type node struct {
	op      operation
	in      []Node
	c, h, w int
	active  bool // depends on x
}

// NewGraph returns a graph with two inputs: x, with c×h×w values an image, to which
// derivatives are taken, and aux, with auxLen values an image, which is held
// constant.
func NewGraph(c, h, w, auxLen int) (g *Graph, x, aux Node) {
	g = &Graph{input: 0, aux: 1, out: NoNode, nodes: []node{
		{op: inputOp{}, c: c, h: h, w: w, active: true},
		{op: inputOp{}, c: auxLen, h: 1, w: 1},
	}}
	return g, g.input, g.aux
}

// Shape returns the number of channels, rows and columns of a node.
func (g *Graph) Shape(n Node) (c, h, w int) { return g.nodes[n].c, g.nodes[n].h, g.nodes[n].w }

func (g *Graph) add(op operation, c, h, w int, in ...Node) Node {
	active := false
	for _, i := range in {
		active = active || g.nodes[i].active
	}
	g.nodes = append(g.nodes, node{op, in, c, h, w, active})
	return Node(len(g.nodes) - 1)
}

// SetOutput names the graph's result.
func (g *Graph) SetOutput(n Node) { g.out = n }

// Layer names a convolution with stride 1 and padding Kernel/2, or, on a node of
// 1×1 pixels with Kernel 1, a linear layer. Its weights are Name.weight and
// Name.bias.
type Layer struct {
	Name   string
	Out    int // output channels
	Kernel int // 1 or 3
	Rank   int // dimensions of the stored weight [Out, in, Kernel, Kernel]: 2, 3 or 4 (0 means 4)
}

// Conv returns the convolution of x.
func (g *Graph) Conv(x Node, l Layer) Node {
	n := g.nodes[x]
	return g.add(&convOp{Layer: l, inputs: n.c}, l.Out, n.h, n.w, x)
}

// ConvAdd is residual + Conv(x): the end of a residual block in one operation.
func (g *Graph) ConvAdd(x, residual Node, l Layer) Node {
	n, r := g.nodes[x], g.nodes[residual]
	if r.c != l.Out || r.h != n.h || r.w != n.w {
		panic(fmt.Sprintf("compute: residual %d×%d×%d added to %d×%d×%d", r.c, r.h, r.w, l.Out, n.h, n.w))
	}
	return g.add(&convOp{Layer: l, inputs: n.c}, l.Out, n.h, n.w, x, residual)
}

// NormLayer names a group normalisation, see [Norm]. Its affine map is
// Name.weight and Name.bias.
type NormLayer struct {
	Name   string
	Groups int
	Eps    float32
	SiLU   bool // followed by x·sigmoid(x)
}

// GroupNorm normalises x. scaleShift has 2C×1×1 values, scales before shifts; it
// is [NoNode] for none, and must not depend on the input.
func (g *Graph) GroupNorm(x, scaleShift Node, l NormLayer) Node {
	n := g.nodes[x]
	in := []Node{x}
	if scaleShift != NoNode {
		if g.nodes[scaleShift].active {
			panic("compute: the scale and shift of a normalisation must not depend on the input")
		}
		in = append(in, scaleShift)
	}
	return g.add(&normOp{NormLayer: l, channels: n.c}, n.c, n.h, n.w, in...)
}

// Map returns a pointwise map of x: a value that has two derivatives.
func (g *Graph) Map(x Node, m Map) Node {
	n := g.nodes[x]
	return g.add(mapOp{Map: m}, n.c, n.h, n.w, x)
}

// SiLU is x·sigmoid(x).
func (g *Graph) SiLU(x Node) Node { return g.Map(x, SiLU()) }

// Attention is softmax attention over the pixels of qkv, which has 3C channels.
func (g *Graph) Attention(qkv Node, h Heads) Node {
	n := g.nodes[qkv]
	return g.add(attentionOp{Heads: h}, n.c/3, n.h, n.w, qkv)
}

// Resample changes the resolution by two and multiplies by scale.
func (g *Graph) Resample(x Node, kind Resampling, scale float32) Node {
	n := g.nodes[x]
	h, w := n.h*2, n.w*2
	if kind == SumDown2 || kind == Subsample2 {
		h, w = n.h/2, n.w/2
	}
	return g.add(resampleOp{kind: kind, scale: scale}, n.c, h, w, x)
}

// Separable applies left to the columns and right to the rows of every channel of x, as
// [Linear.Separable] does: left is [h', h] and right [w', w], row-major, for x of h×w pixels.
// It is how filters resample that are longer than two pixels.
func (g *Graph) Separable(x Node, left, right []float32) Node {
	n := g.nodes[x]
	if len(left)%n.h != 0 || len(right)%n.w != 0 {
		panic(fmt.Sprintf("compute: matrices of %d and %d values for %d×%d pixels", len(left), len(right), n.h, n.w))
	}
	h, w := len(left)/n.h, len(right)/n.w
	return g.add(&separableOp{left: left, right: right, h: n.h, w: n.w}, n.c, h, w, x)
}

// Sum is scale·(x₁ + x₂ + …) of one to four nodes of one shape that depend on the input.
func (g *Graph) Sum(scale float64, x ...Node) Node {
	n := g.nodes[x[0]]
	for _, other := range x {
		if o := g.nodes[other]; o.c != n.c || o.h != n.h || o.w != n.w || !o.active {
			panic(fmt.Sprintf("compute: %d×%d×%d (which depends on the input: %v) added to %d×%d×%d", o.c, o.h, o.w, o.active, n.c, n.h, n.w))
		}
	}
	return g.add(sumOp{scale: scale}, n.c, n.h, n.w, x...)
}

// Slice returns the channels from ≤ c < to of x, which must not depend on the input.
func (g *Graph) Slice(x Node, from, to int) Node {
	n := g.nodes[x]
	if n.active || from < 0 || to <= from || to > n.c {
		panic(fmt.Sprintf("compute: channels %d to %d of a node with %d, which must not depend on the input", from, to, n.c))
	}
	return g.add(sliceOp{from: from, to: to}, to-from, n.h, n.w, x)
}

// AddChannel adds e, of C×1×1 values, to every pixel of x. e must not depend on
// the input.
func (g *Graph) AddChannel(x, e Node) Node {
	n := g.nodes[x]
	if g.nodes[e].active {
		panic("compute: the term added to all pixels must not depend on the input")
	}
	return g.add(addChannelOp{}, n.c, n.h, n.w, x, e)
}

// Concat joins the channels of a and b.
func (g *Graph) Concat(a, b Node) Node {
	x, y := g.nodes[a], g.nodes[b]
	if x.h != y.h || x.w != y.w {
		panic(fmt.Sprintf("compute: %d×%d and %d×%d pixels joined", x.h, x.w, y.h, y.w))
	}
	return g.add(concatOp{}, x.c+y.c, x.h, x.w, a, b)
}
