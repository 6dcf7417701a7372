// Package lpips is the learned perceptual distance of Zhang, Isola, Efros, Shechtman
// & Wang, “The unreasonable effectiveness of deep features as a perceptual metric”
// (2018), version 0.1, and a distance like it that needs no download.
//
// LPIPS proper ([Load]) is defined on torchvision's AlexNet, VGG-16 or SqueezeNet
// 1.1, which are the user's files; the learned weights of its layers are embedded.
// [Like] runs on an embedded network of other origin. Its numbers order pictures
// much as LPIPS does but are not LPIPS, and its name says so.
package lpips

import (
	_ "embed"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/metric/convnet"
	"github.com/cmi-diffusion/cmi/sdk/metric/squeezenet"
)

// Metric is a perceptual distance with its network on a device. One goroutine uses
// it at a time.
type Metric struct {
	name, backbone string
	net            *convnet.Net
	input          input
	lin            [][]float32 // the weight of each channel of each tap
}

// input maps RGB on [0, 1] to what a network was trained on: channel c of the
// network is scale[c]·x + shift[c], its channels reversed for BGR.
type input struct {
	scale, shift [3]float64
	bgr          bool
}

// torchvisionInput is LPIPS's scaling layer, (2x − 1 − shift)/scale.
var torchvisionInput = func() (in input) {
	shift, scale := [3]float64{-.030, -.088, -.188}, [3]float64{.458, .448, .450}
	for c := range 3 {
		in.scale[c], in.shift[c] = 2/scale[c], (-1-shift[c])/scale[c]
	}
	return in
}()

// caffeInput is the original SqueezeNet's: BGR on 0 to 255 less ImageNet's mean.
var caffeInput = input{scale: [3]float64{255, 255, 255}, shift: [3]float64{-104.006, -116.669, -122.679}, bgr: true}

// Names lists the networks that [Load] takes: alex, squeeze, vgg.
func Names() []string { return slices.Sorted(maps.Keys(networks)) }

// Load is LPIPS on torchvision's alexnet ("alex"), vgg16 ("vgg") or squeezenet1_1
// ("squeeze"), of whose file the features.… tensors are read.
func Load(dev compute.Device, network string, backbone checkpoint.Source) (*Metric, error) {
	n, ok := networks[network]
	if !ok {
		return nil, fmt.Errorf("LPIPS: unknown network %q: known are %s", network, strings.Join(Names(), ", "))
	}
	m := &Metric{name: "LPIPS (" + n.title + ")", backbone: n.title, input: torchvisionInput}
	var err error
	if m.lin, err = linear(network); err != nil {
		return nil, fmt.Errorf("LPIPS: %w", err)
	}
	if m.net, err = convnet.Load(dev, backbone, n.table, 3); err != nil {
		return nil, fmt.Errorf("LPIPS on %s: %w", n.title, err)
	}
	return m, nil
}

// Like returns a distance like LPIPS on the embedded original SqueezeNet v1.1.
//
// LPIPS's weights were learned for the channels of torchvision's network, and this
// one's channels stand in another order for other things. So every layer has one
// weight for all its channels: the mean of LPIPS's for that layer, which keeps the
// layers' balance and the scale.
func Like(dev compute.Device) (*Metric, error) {
	backbone, err := squeezenet.Open()
	if err != nil {
		return nil, err
	}
	defer backbone.Close()
	m := &Metric{name: "lpips-like (SqueezeNet v1.1)", backbone: "SqueezeNet v1.1", input: caffeInput}
	if m.lin, err = linear("squeeze"); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	for _, layer := range m.lin {
		sum := 0.0
		for _, w := range layer {
			sum += float64(w)
		}
		for i := range layer {
			layer[i] = float32(sum / float64(len(layer)))
		}
	}
	if m.net, err = convnet.Load(dev, backbone, squeeze, 3); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	return m, nil
}

// weights holds the learned weights as Zhang et al. published them; see PROVENANCE.md.
//
//go:embed lin.safetensors
var weights string

// linear reads the weights of a network's taps.
func linear(network string) ([][]float32, error) {
	file, err := checkpoint.Read(strings.NewReader(weights), int64(len(weights)), "LPIPS v0.1")
	if err != nil {
		return nil, err
	}
	lin := make([][]float32, len(networks[network].taps))
	for i, channels := range networks[network].taps {
		if lin[i], err = file.Floats(fmt.Sprintf("%s.lin%d.model.1.weight", network, i), 1, channels, 1, 1); err != nil {
			return nil, err
		}
	}
	return lin, nil
}

// Name returns what to call the distance: "LPIPS (AlexNet)", "lpips-like (SqueezeNet v1.1)".
func (m *Metric) Name() string { return m.name }

// Backbone returns the network's name.
func (m *Metric) Backbone() string { return m.backbone }

// Close releases the network's memory on the device, not the device.
func (m *Metric) Close() { m.net.Close() }

// chunkPixels bounds the pixels that pass through the network together: small
// images go faster in company, large ones would only take memory.
const chunkPixels = 1 << 16

// Distance returns the distance between each image of x and of y, both [N,3,H,W], RGB on
// [0, 1] (as floats that [metric.Unit] makes of the solver's). It is 0 for equal
// images, symmetric, and not bounded above; LPIPS proper rarely exceeds 1.
//
// At every tap the features of a pixel are scaled to length 1; the squared
// difference, weighted by channel, is averaged over pixels and summed over taps
// (eq. 1 of the paper). Images too small for the network's poolings are an error.
func (m *Metric) Distance(x, y []float32, n, c, h, w int) ([]float64, error) {
	if err := m.check(n, c, h, w, x, y); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	size := c * h * w
	chunk := max(1, chunkPixels/(2*h*w))
	for from := 0; from < n; from += chunk {
		count := min(chunk, n-from)
		both := convnet.New(2*count, 3, h, w)
		m.input.prepare(both.Values[:count*size], x[from*size:], h*w)
		m.input.prepare(both.Values[count*size:], y[from*size:], h*w)
		layer := 0
		_, err := m.net.Run(both, func(f convnet.Maps) {
			for i := range count {
				out[from+i] += difference(f.Image(i), f.Image(count+i), m.lin[layer])
			}
			layer++
		})
		if err != nil {
			return nil, fmt.Errorf("%s of %d×%d pixels (H×W): %w", m.name, h, w, err)
		}
	}
	for i, d := range out {
		if d-d != 0 {
			return nil, fmt.Errorf("%s: image %d: the network's values overflow", m.name, i)
		}
	}
	return out, nil
}

// Features returns the last tap's maps averaged over the pixels, dim values an image:
// what the Fréchet distance needs where no Inception network is there. Images are
// as for [Metric.Distance].
func (m *Metric) Features(x []float32, n, c, h, w int) (features []float32, dim int, err error) {
	if err := m.check(n, c, h, w, x); err != nil {
		return nil, 0, err
	}
	size := c * h * w
	chunk := max(1, chunkPixels/(h*w))
	for from := 0; from < n; from += chunk {
		in := convnet.New(min(chunk, n-from), 3, h, w)
		m.input.prepare(in.Values, x[from*size:], h*w)
		last, err := m.net.Run(in, nil)
		if err != nil {
			return nil, 0, fmt.Errorf("%s of %d×%d pixels (H×W): %w", m.backbone, h, w, err)
		}
		features, dim = append(features, last.Mean()...), last.C
	}
	return features, dim, nil
}

// check refuses batches of other shapes and values that are not finite.
func (m *Metric) check(n, c, h, w int, batches ...[]float32) error {
	if n < 1 || c != 3 || h < 1 || w < 1 {
		return fmt.Errorf("%s: shape %d×%d×%d×%d, want N×3×H×W", m.name, n, c, h, w)
	}
	for _, x := range batches {
		if len(x) != n*c*h*w {
			return fmt.Errorf("%s: %d values, want %d (%d×%d×%d×%d)", m.name, len(x), n*c*h*w, n, c, h, w)
		}
		if bad := slices.IndexFunc(x, func(v float32) bool { return v-v != 0 }); bad >= 0 {
			return fmt.Errorf("%s: image %d of %d holds %v, want finite values", m.name, bad/(c*h*w), n, x[bad])
		}
	}
	return nil
}

// prepare maps whole images x on [0, 1] to the network's input, as many as dst holds.
func (in input) prepare(dst, x []float32, pixels int) {
	for plane := range len(dst) / pixels {
		c := plane % 3
		from := plane
		if in.bgr {
			from += 2 - 2*c
		}
		scale, shift := in.scale[c], in.shift[c]
		for i, v := range x[from*pixels : (from+1)*pixels] {
			dst[plane*pixels+i] = float32(float64(v)*scale + shift)
		}
	}
}

// difference returns one tap's part of the distance: Σ_c w_c (f̂_c − ĝ_c)² averaged over
// pixels, f̂ = f/(‖f‖ + 10⁻¹⁰) along the channels.
func difference(f, g, lin []float32) float64 {
	pixels := len(f) / len(lin)
	inverse := func(f []float32) []float64 {
		sum := make([]float64, pixels)
		for c := range lin {
			for i, v := range f[c*pixels : (c+1)*pixels] {
				sum[i] += float64(v) * float64(v)
			}
		}
		for i, s := range sum {
			sum[i] = 1 / (math.Sqrt(s) + 1e-10)
		}
		return sum
	}
	a, b := inverse(f), inverse(g)
	total := 0.0
	for c, weight := range lin {
		sum := 0.0
		for i := range pixels {
			d := float64(f[c*pixels+i])*a[i] - float64(g[c*pixels+i])*b[i]
			sum += d * d
		}
		total += float64(weight) * sum
	}
	return total / float64(pixels)
}
