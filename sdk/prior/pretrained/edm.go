package pretrained

import (
	"fmt"
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
)

// The pickles of EDM's programs (Karras et al. 2022) hold a module tree: a preconditioning
// around a network whose encoder and decoder are lists of blocks, applied in turn. The network
// is built from that list, so that any arrangement of known blocks is taken.

// edmModules is a checkpoint that lists its modules.
type edmModules interface{ Modules() []checkpoint.Module }

func isEDM(from checkpoint.Source) bool {
	m, ok := from.(edmModules)
	return ok && len(m.Modules()) > 0
}

// edmNetwork is a module tree.
type edmNetwork struct {
	list   []checkpoint.Module
	byName map[string]checkpoint.Module
}

// number returns a numeric attribute of a module, 0 where there is none.
func (n edmNetwork) number(module, attribute string) float64 {
	switch v := n.byName[module].Attributes[attribute].(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return 0
}

func (n edmNetwork) flag(module, attribute string) bool {
	v, _ := n.byName[module].Attributes[attribute].(bool)
	return v
}

// has says whether there is a module of that name.
func (n edmNetwork) has(name string) bool { _, ok := n.byName[name]; return ok }

// blocks returns the names of the modules in a list, in their order.
func (n edmNetwork) blocks(of string) (names []string) {
	for _, m := range n.list {
		if rest, ok := strings.CutPrefix(m.Name, of+"."); ok && !strings.Contains(rest, ".") {
			names = append(names, m.Name)
		}
	}
	return names
}

// reduction returns by which factor the encoder reduces pictures.
func (n edmNetwork) reduction() int {
	factor := 1
	for _, name := range n.blocks("model.enc") {
		if n.flag(name, "down") && !strings.Contains(name, "_aux_") && factor < 1<<12 {
			factor *= 2
		}
	}
	return factor
}

// edm reads EDM's pickles: DhariwalUNet and SongUNet under EDM's, the variance-preserving or
// the variance-exploding preconditioning. They are trained for noise of any standard deviation
// σ; here they are sampled with the linear schedule of 1000 steps, σ = √(1/ᾱ − 1).
func edm(from checkpoint.Source, override []byte) (*Architecture, error) {
	if len(override) > 0 {
		return nil, fmt.Errorf("a JSON configuration is given, but these files tell everything: leave it out")
	}
	n := edmNetwork{from.(edmModules).Modules(), map[string]checkpoint.Module{}}
	for _, m := range n.list {
		n.byName[m.Name] = m
	}
	outer, inner := n.byName[""].Class, n.byName["model"].Class
	predicts := map[string]diffusion.Prediction{
		"EDMPrecond": diffusion.PredictsEDM(n.number("", "sigma_data")),
		"VPPrecond":  diffusion.PredictsVP(n.number("", "beta_d"), n.number("", "beta_min"), int(n.number("", "M"))),
		"VEPrecond":  diffusion.PredictsVE(),
	}[outer]
	embedding, known := map[string]network.Embedding{"DhariwalUNet": {}, "SongUNet": {SinFirst: true}}[inner]
	switch {
	case predicts == nil:
		return nil, fmt.Errorf("the outermost module is %.60q; EDMPrecond, VPPrecond and VEPrecond are supported", outer)
	case !known:
		return nil, fmt.Errorf("the network is %.60q; DhariwalUNet and SongUNet are supported", inner)
	case outer == "EDMPrecond" && !(n.number("", "sigma_data") > 0), outer == "VPPrecond" && !(n.number("", "beta_d") > 0 && n.number("", "M") >= 1):
		return nil, fmt.Errorf("%s has attributes %v, positive ones are wanted", outer, n.byName[""].Attributes)
	}
	side, channels, classes := int(n.number("", "img_resolution")), int(n.number("", "img_channels")), int(n.number("", "label_dim"))
	if side < 1 || side > 1<<14 || channels < 1 || channels > 4 || classes < 0 || classes > 1<<16 {
		return nil, fmt.Errorf("%d×%d pixels of %d channels and %d classes are no sensible image", side, side, channels, classes)
	}
	betas, err := diffusion.Linear(1000)
	if err != nil {
		return nil, err
	}
	b := &edmBuilder{edmNetwork: n, from: from, song: inner == "SongUNet", heads: map[string]int{}, filters: map[string][]float64{}}
	cfg := network.Config{Schedule: "linear", Betas: betas, Predicts: predicts, Classes: classes}
	cfg.Graph = func(h, w int) (*compute.Graph, error) { return b.build(h, w, channels, classes) }
	cfg.Multiple = n.reduction()
	read := func(take func(*compute.Graph, compute.Source) error) error {
		used := network.NewLedger(from)
		b.from = used
		graph, err := b.build(side, side, channels, classes)
		if err != nil {
			return err
		}
		if cfg.Embed, err = b.embed(embedding, classes); err != nil {
			return err
		}
		if err := take(graph, edmWeights{used, b.heads}); err != nil {
			return err
		}
		return used.Complete("map_augment", "resample_filter")
	}
	a := &Architecture{
		Format: "EDM's " + inner, Classes: classes,
		Summary: []string{
			fmt.Sprintf("%d×%d pixels of %d channels, %d encoder and %d decoder modules, no learned variance", side, side, channels, len(n.blocks("model.enc")), len(n.blocks("model.dec"))),
			fmt.Sprintf("preconditioning %s; sampled with the schedule linear over 1000 steps, σ = √(1/ᾱ − 1)", outer),
		},
		check: func() error { return read(func(g *compute.Graph, w compute.Source) error { return g.Check(w) }) },
	}
	a.load = func(d compute.Device) (m *network.Model, err error) {
		var net *compute.Network
		err = read(func(g *compute.Graph, w compute.Source) (err error) { net, err = g.Compile(d, w); return err })
		if err == nil {
			m, err = network.New(net, cfg)
		}
		if err != nil && net != nil {
			net.Close()
		}
		return m, err
	}
	return a, nil
}

// embed returns what fills the network's second input: the noise level's embedding, to which
// SongUNet adds the class's, while DhariwalUNet takes that apart.
func (b *edmBuilder) embed(e network.Embedding, classes int) (func([]float32, float64, int), error) {
	const noise, label = "model.map_noise", "model.map_label"
	width := b.noiseChannels()
	var freqs []float32
	if b.byName[noise].Class == "FourierEmbedding" {
		var err error
		if freqs, err = b.from.Floats(noise+".freqs", width/2); err != nil {
			return nil, err
		}
	} else if b.number(noise, "max_positions") != 10000 {
		return nil, fmt.Errorf("%s.max_positions is %g, 10000 is supported", noise, b.number(noise, "max_positions"))
	}
	if b.flag(noise, "endpoint") {
		e.Shift = 1
	}
	var table, bias []float32 // [channels, classes]
	if classes > 0 {
		t, _ := b.from.Info(label + ".weight")
		if len(t.Shape) != 2 || t.Shape[1] != classes {
			return nil, fmt.Errorf("tensor %s.weight has shape %v, wanted [·, %d]", label, t.Shape, classes)
		}
		var err error
		if table, err = b.from.Floats(label+".weight", t.Shape...); err != nil {
			return nil, err
		}
		if _, ok := b.from.Info(label + ".bias"); ok {
			if bias, err = b.from.Floats(label+".bias", t.Shape[0]); err != nil {
				return nil, err
			}
		}
	}
	return func(dst []float32, time float64, class int) {
		if freqs != nil {
			b.fourier(dst[:width], freqs, time)
		} else {
			e.Fill(dst[:width], time)
		}
		if class < 0 {
			return
		}
		into, scale := dst[width:], float32(1)
		if b.song { // one-hot vectors have unit variance there
			into, scale = dst[:width], float32(math.Sqrt(float64(classes)))
		}
		for c := range len(table) / classes {
			v := scale * table[c*classes+class]
			if bias != nil {
				v += bias[c]
			}
			into[c] += v
		}
	}, nil
}

// fourier fills dst with the sines and cosines of 2π f·time.
func (b *edmBuilder) fourier(dst, freqs []float32, time float64) {
	for i, f := range freqs {
		sin, cos := math.Sincos(2 * math.Pi * float64(f) * time)
		dst[i], dst[len(freqs)+i] = float32(sin), float32(cos) // SongUNet's order
	}
}

func (b *edmBuilder) noiseChannels() int {
	t, _ := b.from.Info("model.map_layer0.weight")
	if len(t.Shape) != 2 {
		return 0
	}
	return t.Shape[1]
}

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
	g, x, aux := compute.NewGraph(channels, height, width, beside)
	b.Graph = g
	emb, class := aux, compute.NoNode
	if beside > noise {
		emb, class = g.Slice(aux, 0, noise), g.Slice(aux, noise, beside)
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

// conv is Conv2d: a change of resolution by a filter, then a convolution; either may be missing.
func (b *edmBuilder) conv(x compute.Node, name string) compute.Node {
	up, down, fused := b.flag(name, "up"), b.flag(name, "down"), b.flag(name, "fused_resample")
	kernel, out := 0, 0
	if t, ok := b.from.Info(name + ".weight"); ok {
		if len(t.Shape) != 4 || t.Shape[2] != t.Shape[3] || t.Shape[2] != 1 && t.Shape[2] != 3 {
			return b.fail(x, "tensor %.100q has shape %v; convolutions of 1×1 and 3×3 pixels are supported", name+".weight", t.Shape)
		}
		kernel, out = t.Shape[2], b.rows(name)
	}
	var taps []float64
	if up || down {
		if taps = b.taps(name); taps == nil {
			return x
		}
	}
	_, h, w := b.Shape(x)
	convolve := func(x compute.Node) compute.Node {
		if kernel == 0 || b.err != nil {
			return x
		}
		return b.Conv(x, compute.Layer{Name: name, Out: out, Kernel: kernel})
	}
	switch {
	case down && (h%2 != 0 || w%2 != 0):
		return b.fail(x, "module %.100q halves %d×%d pixels", name, h, w)
	case fused && up && kernel > 0:
		return b.fail(x, "module %.100q: a convolution fused with an increase of resolution is not supported", name)
	case fused && down && kernel > 0: // the filter sees the convolution's values beyond the edge, too
		margin := (len(taps) - 1) / 2
		pad := func(size int) []float32 { return padding(size, margin) }
		x = convolve(b.Separable(x, pad(h), pad(w)))
		return b.Separable(x, shrinking(h, margin, taps), shrinking(w, margin, taps))
	case up && up2(taps):
		x = b.Resample(x, compute.Up2, 1)
	case up:
		x = b.Separable(x, growing(h, taps), growing(w, taps))
	case down && up2(taps):
		x = b.Resample(x, compute.SumDown2, 0.25)
	case down:
		x = b.Separable(x, shrinking(h, 0, taps), shrinking(w, 0, taps))
	}
	return convolve(x)
}

// taps returns the filter of a module along one axis, of sum 1; nil after a failure.
func (b *edmBuilder) taps(name string) []float64 {
	if taps, ok := b.filters[name]; ok {
		return taps
	}
	t, _ := b.from.Info(name + ".resample_filter")
	if len(t.Shape) != 4 || t.Shape[2] != t.Shape[3] || t.Shape[2]%2 != 0 || t.Shape[2] < 2 || t.Shape[2] > 16 {
		b.fail(0, "tensor %.100q has shape %v, a filter of even length is wanted", name+".resample_filter", t.Shape)
		return nil
	}
	f, err := b.from.Floats(name+".resample_filter", t.Shape...)
	if err != nil {
		b.fail(0, "%w", err)
		return nil
	}
	k := t.Shape[2]
	taps := make([]float64, k) // the filter is the outer product of its rows' sums
	for i := range taps {
		for j := range k {
			taps[i] += float64(f[i*k+j])
		}
	}
	b.filters[name] = taps
	return taps
}

// up2 says whether a filter is the mean of two pixels.
func up2(taps []float64) bool { return len(taps) == 2 && taps[0] == 0.5 && taps[1] == 0.5 }

// padding returns the matrix [size + 2·margin, size] that surrounds a row with zeros.
func padding(size, margin int) []float32 {
	m := make([]float32, (size+2*margin)*size)
	for i := range size {
		m[(i+margin)*size+i] = 1
	}
	return m
}

// shrinking returns the matrix [size/2, size + 2·margin] of a filter with stride 2, on a row that
// has margin values more at either end.
func shrinking(size, margin int, taps []float64) []float32 {
	columns := size + 2*margin
	m := make([]float32, size/2*columns)
	for i := range size / 2 {
		for k, f := range taps {
			if j := 2*i + k - (len(taps)-1)/2 + margin; j >= 0 && j < columns {
				m[i*columns+j] = float32(f)
			}
		}
	}
	return m
}

// growing returns the matrix [2·size, size] that is twice the transpose of the filter with stride 2.
func growing(size int, taps []float64) []float32 {
	m := make([]float32, 2*size*size)
	for i := range size {
		for k, f := range taps {
			if j := 2*i + k - (len(taps)-1)/2; j >= 0 && j < 2*size {
				m[j*size+i] = float32(2 * f)
			}
		}
	}
	return m
}

// edmWeights has the channels of attention's layers in the order [head][q|k|v][channel]; the
// files have [head][channel][q|k|v].
type edmWeights struct {
	checkpoint.Source
	heads map[string]int
}

// Floats implements [compute.Source].
func (w edmWeights) Floats(name string, shape ...int) ([]float32, error) {
	values, err := w.Source.Floats(name, shape...)
	heads := w.heads[strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias")]
	if err != nil || heads == 0 {
		return values, err
	}
	rows := shape[0]
	each, channels := len(values)/rows, rows/heads/3
	ordered := make([]float32, 0, len(values))
	for head := range heads {
		for part := range 3 {
			for c := range channels {
				row := (head*channels+c)*3 + part
				ordered = append(ordered, values[row*each:(row+1)*each]...)
			}
		}
	}
	return ordered, nil
}
