// Package network makes a compiled network a [prior.Model]: it embeds times and classes, and
// turns what the network predicts into the predicted noise and its derivatives.
//
// Packages that know a network's layout, such as
// [github.com/cmi-diffusion/cmi/sdk/prior/unet], build the graph.
package network

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Config says what a network is beside its graph.
type Config struct {
	// Schedule names the noise schedule of training, and Betas are its β, one a step; both are
	// empty where nobody says.
	Schedule string
	Betas    []float64
	// Steps is the number of training steps T; 0 stands for len(Betas), or 1000 without.
	Steps int
	// Predicts is what the network predicts; nil stands for the noise. Another prediction needs
	// Betas, and a network of as many output as input channels.
	Predicts diffusion.Prediction
	// Classes is the number of classes of a class-conditional network, else 0.
	Classes int
	// Graph builds the graph for images of another size, both sides multiples of Multiple; nil
	// where the network knows one size.
	Graph    func(height, width int) (*compute.Graph, error)
	Multiple int
	// Embed fills dst with what the graph takes of an image beside x: its time and its class, −1
	// for a network without classes.
	Embed func(dst []float32, time float64, class int)
}

// Model is a network on a device; it implements [prior.Model].
type Model struct {
	cfg      Config
	net      *compute.Network
	in, out  [3]int
	classes  []int // of the images, in turn
	alphaBar []float64
	ws       *compute.Workspace // of predictions other than the noise
}

// New returns the model of a network, which it owns then.
func New(net *compute.Network, c Config) (*Model, error) {
	m := &Model{cfg: c, net: net, ws: compute.NewWorkspace(net.Device())}
	m.in, m.out = net.Shapes()
	if c.Predicts == nil {
		return m, nil
	}
	if m.in != m.out || len(c.Betas) == 0 {
		return nil, fmt.Errorf("a network of %v → %v values with a schedule of %d steps can't predict anything but the noise", m.in, m.out, len(c.Betas))
	}
	m.alphaBar = diffusion.AlphaBars(c.Betas)
	return m, nil
}

// Multiple returns what the sides of images must be multiples of in [Model.Resized]; 0 where
// the network knows one size.
func (m *Model) Multiple() int {
	if m.cfg.Graph == nil {
		return 0
	}
	return max(1, m.cfg.Multiple)
}

// Resized returns the network for images of h×w pixels, with the weights of m: convolutions
// take any size, and attention then sees more pixels than it was trained with. Close it
// before m.
func (m *Model) Resized(h, w int) (*Model, error) {
	of := m.Multiple()
	if of == 0 || h < 1 || w < 1 || h%of != 0 || w%of != 0 {
		return nil, fmt.Errorf("the network can't be applied to %d×%d pixels, sides that are multiples of %d are wanted", w, h, of)
	}
	g, err := m.cfg.Graph(h, w)
	if err != nil {
		return nil, err
	}
	net, err := m.net.Resized(g)
	if err != nil {
		return nil, err
	}
	r, err := New(net, m.cfg)
	if err != nil {
		net.Close()
		return nil, err
	}
	r.classes = m.classes
	return r, nil
}

// SetClass makes image n of every batch one of class classes[n mod len(classes)], 0 … Classes−1.
// A class-conditional network needs it before its first evaluation.
func (m *Model) SetClass(classes ...int) error {
	for _, c := range classes {
		switch {
		case m.cfg.Classes == 0:
			return fmt.Errorf("class %d: the network knows no classes", c)
		case c < 0 || c >= m.cfg.Classes:
			return fmt.Errorf("class %d: the network has the classes 0 … %d", c, m.cfg.Classes-1)
		}
	}
	m.classes = slices.Clone(classes)
	return nil
}

// Classes returns the number of classes of a class-conditional network, else 0.
func (m *Model) Classes() int { return m.cfg.Classes }

// Image implements [prior.Model].
func (m *Model) Image() (c, h, w int) { return m.in[0], m.in[1], m.in[2] }

// OutChannels returns the channels of the output: those of the noise, and of the variance.
func (m *Model) OutChannels() int { return m.out[0] }

// LearnedVariance implements [prior.Model].
func (m *Model) LearnedVariance() bool { return m.out[0] == 2*m.in[0] }

// Steps implements [prior.Model]: 1000 where nobody says.
func (m *Model) Steps() int { return cmp.Or(m.cfg.Steps, len(m.cfg.Betas), 1000) }

// NoiseSchedule implements [prior.Scheduled].
func (m *Model) NoiseSchedule() (name string, betas []float64) { return m.cfg.Schedule, m.cfg.Betas }

// Device implements [prior.Model].
func (m *Model) Device() compute.Device { return m.net.Device() }

// Memory returns the bytes of activations, coefficients and gradients allocated so far.
func (m *Model) Memory() int64 { return m.net.Memory() }

// EstimateMemory implements [prior.MemoryEstimator].
func (m *Model) EstimateMemory(images int, p compute.Passes) (total, largest int64) {
	total, largest = m.net.EstimateMemory(images, p)
	if m.cfg.Predicts != nil {
		const arrays = 5 // the network's input, and the results of value and derivatives
		total += arrays * 4 * int64(images*m.in[0]*m.in[1]*m.in[2])
	}
	return total, largest
}

// Close implements [prior.Model].
func (m *Model) Close() {
	m.ws.Free()
	m.net.Close()
}

// At implements [prior.Model].
func (m *Model) At(x compute.Tensor, t []int) (prior.Point, error) {
	if len(t) != x.N {
		return nil, fmt.Errorf("%d timesteps for %d images", len(t), x.N)
	}
	if m.cfg.Classes > 0 && len(m.classes) == 0 {
		return nil, fmt.Errorf("the network is class-conditional: choose one of its classes 0 … %d", m.cfg.Classes-1)
	}
	for _, ti := range t {
		if ti < 0 || ti >= m.Steps() {
			return nil, fmt.Errorf("timestep %d is outside 0 … %d", ti, m.Steps()-1)
		}
	}
	if m.cfg.Predicts == nil {
		coefs := make([]diffusion.Coefficients, len(t))
		for n, ti := range t {
			coefs[n] = diffusion.PredictsNoise(0, ti)
		}
		out, err := m.net.Value(x, m.embed(coefs))
		if err != nil {
			return nil, err
		}
		return point{m.net, out}, nil
	}
	return m.predict(x, t)
}

// embed returns what the network takes beside the images.
func (m *Model) embed(coefs []diffusion.Coefficients) []float32 {
	each := m.net.AuxLen()
	aux := make([]float32, each*len(coefs))
	for n, c := range coefs {
		class := -1
		if m.cfg.Classes > 0 {
			class = m.classes[n%len(m.classes)]
		}
		m.cfg.Embed(aux[n*each:(n+1)*each], c.Time, class)
	}
	return aux
}

// point is a network that predicts the noise, at one x_t.
type point struct {
	*compute.Network
	out compute.Tensor
}

func (p point) Out() compute.Tensor { return p.out }

// Embedding is the sinusoidal embedding of times (Vaswani et al. 2017): the cosines and sines
// of time·f_i, f_i = 10000^(−i/(half − Shift)), half of the values each.
type Embedding struct {
	SinFirst bool
	Shift    float64 // 0, or 1 where the last frequency is 1/10000
}

// Fill writes the embedding of a time. Frequencies and arguments are rounded to float32, as
// they were in training.
func (e Embedding) Fill(dst []float32, time float64) {
	half := len(dst) / 2
	cos, sin := dst[:half], dst[half:]
	if e.SinFirst {
		cos, sin = sin, cos
	}
	for i := range half {
		f := float32(math.Exp(float64(float32(-math.Log(10000)) * float32(i) / float32(float64(half)-e.Shift))))
		arg := float64(float32(time) * f)
		cos[i], sin[i] = float32(math.Cos(arg)), float32(math.Sin(arg))
	}
}
