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
	strides        []int       // of each tap
	tileDone       func()      // unless nil, called after each tile
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
	m := &Metric{name: "LPIPS (" + n.title + ")", backbone: n.title, input: torchvisionInput, strides: n.strides}
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
	m := &Metric{name: "lpips-like (SqueezeNet v1.1)", backbone: "SqueezeNet v1.1", input: caffeInput, strides: networks["squeeze"].strides}
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

// Watch has check called before every convolution, whose error ends the work and is
// returned, and tile after each of an image's [Tiles]. Either may be nil.
func (m *Metric) Watch(check func() error, tile func()) { m.net.Check, m.tileDone = check, tile }

// Distance returns the distance between each image of x and of y, both [N,3,H,W], RGB on
// [0, 1] (as floats that [metric.Unit] makes of the solver's). It is 0 for equal
// images, symmetric, and not bounded above; LPIPS proper rarely exceeds 1.
//
// At every tap the features of a pixel are scaled to length 1; the squared
// difference, weighted by channel, is averaged over pixels and summed over taps
// (eq. 1 of the paper). Images too small for the network's poolings are an error.
func (m *Metric) Distance(x, y []float32, n, c, h, w int) ([]float64, error) {
	distance, _, err := m.measure(n, c, h, w, x, y)
	return distance, err
}

// Features returns the last tap's maps averaged over the pixels, dim values an image:
// what the Fréchet distance needs where no Inception network is there. Images are
// as for [Metric.Distance].
func (m *Metric) Features(x []float32, n, c, h, w int) (features []float32, dim int, err error) {
	_, of, err := m.measure(n, c, h, w, x)
	return of[0], len(m.lin[len(m.lin)-1]), err
}

// DistanceAndFeatures is [Metric.Distance] and the [Metric.Features] of x and of y in one pass of the network.
func (m *Metric) DistanceAndFeatures(x, y []float32, n, c, h, w int) (distance []float64, features [2][]float32, err error) {
	distance, features, err = m.measure(n, c, h, w, x, y)
	return distance, features, err
}

// chunkPixels bounds the pixels of small images that pass through the network together,
// which go faster in company.
const chunkPixels = 1 << 16

// measure passes one or two batches of images through the network: the distances between
// two, and the features of each.
func (m *Metric) measure(n, c, h, w int, batches ...[]float32) (distance []float64, features [2][]float32, err error) {
	if err := m.check(n, c, h, w, batches...); err != nil {
		return nil, features, err
	}
	size := c * h * w
	chunk := max(1, chunkPixels/(len(batches)*h*w))
	for from := 0; from < n; from += chunk {
		count := min(chunk, n-from)
		part := make([][]float32, len(batches))
		for k, x := range batches {
			part[k] = x[from*size : (from+count)*size]
		}
		d, f, err := m.tiled(count, h, w, spans(h), spans(w), part)
		if err != nil {
			return nil, features, fmt.Errorf("%s of %d×%d pixels (H×W): %w", m.name, h, w, err)
		}
		distance = append(distance, d...)
		for k := range batches {
			features[k] = append(features[k], f[k]...)
		}
	}
	for i, d := range distance {
		if d-d != 0 {
			return nil, features, fmt.Errorf("%s: image %d: the network's values overflow", m.name, i)
		}
	}
	return distance, features, nil
}

// tiled is measure of n images, a tile of all of them at a time.
func (m *Metric) tiled(n, h, w int, down, across []span, batches [][]float32) (distance []float64, features [2][]float32, err error) {
	sums := make([][]float64, len(m.lin)) // of each tap and image
	pixels := make([]int, len(m.lin))     // of each tap
	for layer := range sums {
		sums[layer] = make([]float64, n)
	}
	last := len(m.lin) - 1
	channels := len(m.lin[last])
	var means [2][]float64 // of the last tap's channels
	for k := range batches {
		means[k] = make([]float64, n*channels)
	}
	for _, rows := range down {
		for _, columns := range across {
			in := convnet.New(len(batches)*n, 3, rows.to-rows.from, columns.to-columns.from)
			for k, x := range batches {
				for i := range n {
					m.input.prepare(in.Image(k*n+i), x[3*i*h*w:3*(i+1)*h*w], w, rows, columns)
				}
			}
			layer := 0
			_, err := m.net.Run(in, func(f convnet.Maps) {
				r, c := rows.at(m.strides[layer], f.H), columns.at(m.strides[layer], f.W)
				pixels[layer] += (r.last - r.first) * (c.last - c.first)
				for i := range n {
					if len(batches) == 2 {
						sums[layer][i] += difference(f.Image(i), f.Image(n+i), m.lin[layer], f.H, f.W, r, c)
					}
				}
				if layer == last {
					for k := range batches {
						addSums(means[k], f, k*n, n, r, c)
					}
				}
				layer++
			})
			if err != nil {
				return nil, features, err
			}
			if m.tileDone != nil {
				m.tileDone()
			}
		}
	}
	if len(batches) == 2 {
		distance = make([]float64, n)
	}
	for layer := range sums {
		for i := range distance {
			distance[i] += sums[layer][i] / float64(pixels[layer])
		}
	}
	for k := range batches {
		features[k] = make([]float32, n*channels)
		for i, sum := range means[k] {
			features[k][i] = float32(sum / float64(pixels[last]))
		}
	}
	return distance, features, nil
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

// prepare maps a tile of an image x [3,H,W] on [0, 1] to the network's input.
func (in input) prepare(dst, x []float32, w int, rows, columns span) {
	plane := len(x) / 3
	for c := range 3 {
		from := c
		if in.bgr {
			from = 2 - c
		}
		scale, shift := in.scale[c], in.shift[c]
		for r := rows.from; r < rows.to; r++ {
			line := x[from*plane+r*w:][columns.from:columns.to]
			for j, v := range line {
				dst[j] = float32(float64(v)*scale + shift)
			}
			dst = dst[len(line):]
		}
	}
}

// difference returns one tap's part of the distance: Σ_c w_c (f̂_c − ĝ_c)² summed over the
// pixels that count, f̂ = f/(‖f‖ + 10⁻¹⁰) along the channels.
func difference(f, g, lin []float32, h, w int, rows, columns span) float64 {
	inverse := func(f []float32) []float64 {
		sum := make([]float64, h*w)
		for c := range lin {
			for i, v := range f[c*h*w : (c+1)*h*w] {
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
		for r := rows.first; r < rows.last; r++ {
			for i := r*w + columns.first; i < r*w+columns.last; i++ {
				d := float64(f[c*h*w+i])*a[i] - float64(g[c*h*w+i])*b[i]
				sum += d * d
			}
		}
		total += float64(weight) * sum
	}
	return total
}

// addSums adds to each of n images' channels the sum of its pixels that count.
func addSums(sums []float64, f convnet.Maps, from, n int, rows, columns span) {
	for i := range n * f.C {
		plane := f.Values[(from*f.C+i)*f.H*f.W:]
		for r := rows.first; r < rows.last; r++ {
			for _, v := range plane[r*f.W+columns.first : r*f.W+columns.last] {
				sums[i] += float64(v)
			}
		}
	}
}
