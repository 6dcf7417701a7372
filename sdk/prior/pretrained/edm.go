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
		if n.flag(name+".conv0", "down") && factor < 1<<12 {
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
