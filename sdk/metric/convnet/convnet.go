// Package convnet evaluates the convolutional networks that learned metrics are
// made of. A network is a table of [Conv], [MaxPool], [AvgPool], [Seq] and [Branches];
// [Load] joins it with the weights of a checkpoint.
//
// Only values are computed, no derivatives. The products run on a compute device:
// what the device's stride-1 convolutions don't cover (other kernels, strides and
// paddings) is unfolded on the host and is a 1×1 convolution there.
package convnet

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Maps are N images of C×H×W values on the host, dense NCHW.
type Maps struct {
	N, C, H, W int
	Values     []float32
}

// New are maps of zeros.
func New(n, c, h, w int) Maps { return Maps{n, c, h, w, make([]float32, n*c*h*w)} }

// Image returns the values of image n.
func (m Maps) Image(n int) []float32 {
	size := m.C * m.H * m.W
	return m.Values[n*size : (n+1)*size]
}

// String shows the shape: 2×3×64×64.
func (m Maps) String() string { return fmt.Sprintf("%d×%d×%d×%d", m.N, m.C, m.H, m.W) }

// Mean returns the mean of each channel over its pixels, [N, C].
func (m Maps) Mean() []float32 {
	out := make([]float32, m.N*m.C)
	hw := m.H * m.W
	for i := range out {
		sum := 0.0
		for _, v := range m.Values[i*hw : (i+1)*hw] {
			sum += float64(v)
		}
		out[i] = float32(sum / float64(hw))
	}
	return out
}

// Node is a part of a network's table.
type Node interface {
	// build loads the node's weights for inputs of so many channels; out is the
	// number of channels that it gives.
	build(net *Net, weights checkpoint.Source, in int) (run layer, out int, err error)
}

// layer computes a loaded node. It leaves x as it is.
type layer func(x Maps) (Maps, error)

// Net is a network with its weights on a device. One goroutine uses it at a time.
type Net struct {
	// Check, unless nil, is called before every convolution; its error ends the run.
	Check func() error

	dev      compute.Device
	in       int
	training bool
	run      layer
	tap      func(Maps)
	scratch  [2]compute.Buffer // a product's operand and result
}

// Load joins a table with weights, for images of so many channels. The error of a
// checkpoint that doesn't fit names the tensor. Close the network to release its
// memory on the device.
func Load(dev compute.Device, weights checkpoint.Source, table Node, channels int) (*Net, error) {
	return load(&Net{dev: dev, in: channels}, weights, table)
}

// LoadTraining is [Load] of a network that normalises by the statistics of each
// batch, as in training, and not by the stored ones. An image's maps then depend on
// its company: use it only to compare with a reference that was computed so.
func LoadTraining(dev compute.Device, weights checkpoint.Source, table Node, channels int) (*Net, error) {
	return load(&Net{dev: dev, in: channels, training: true}, weights, table)
}

func load(n *Net, weights checkpoint.Source, table Node) (*Net, error) {
	run, _, err := table.build(n, weights, n.in)
	if err != nil {
		return nil, err
	}
	n.run = run
	return n, nil
}

// Close releases the network's memory on the device, not the device.
func (n *Net) Close() {
	for i, b := range n.scratch {
		if b != nil {
			n.dev.Free(b)
		}
		n.scratch[i] = nil
	}
}

// Run computes the last node's maps. tap, unless nil, is called with the maps at
// each [Tap], in order; it must not change them, nor keep them unless it copies.
func (n *Net) Run(x Maps, tap func(Maps)) (Maps, error) {
	if x.C != n.in || x.N < 1 || x.H < 1 || x.W < 1 || len(x.Values) != x.N*x.C*x.H*x.W {
		return Maps{}, fmt.Errorf("convnet: %d values as %v, want N×%d×H×W", len(x.Values), x, n.in)
	}
	n.tap = tap
	return n.run(x)
}

// buffer is scratch memory of at least so many values on the device.
func (n *Net) buffer(i, floats int) (compute.Buffer, error) {
	if b := n.scratch[i]; b != nil {
		if b.Len() >= floats {
			return b, nil
		}
		n.dev.Free(b)
		n.scratch[i] = nil
	}
	b, err := n.dev.Alloc(floats)
	if err != nil {
		return nil, fmt.Errorf("convnet: %w", err)
	}
	n.scratch[i] = b
	return b, nil
}

// apply computes dst = w·x + bias on the device.
func (n *Net) apply(dst, x Maps, w compute.Weights) error {
	if n.Check != nil {
		if err := n.Check(); err != nil {
			return err
		}
	}
	from, err := n.buffer(0, len(x.Values))
	if err != nil {
		return err
	}
	to, err := n.buffer(1, len(dst.Values))
	if err != nil {
		return err
	}
	source := compute.Dense(from, x.N, x.C, x.H, x.W)
	result := compute.Dense(to, dst.N, dst.C, dst.H, dst.W)
	n.dev.Write(source, x.Values)
	n.dev.Conv(result, source, w, compute.ConvMode{Bias: true})
	return n.dev.Read(dst.Values, result)
}

// Seq is nodes one after the other.
type Seq []Node

func (s Seq) build(net *Net, weights checkpoint.Source, in int) (layer, int, error) {
	layers := make([]layer, len(s))
	for i, node := range s {
		var err error
		if layers[i], in, err = node.build(net, weights, in); err != nil {
			return nil, 0, err
		}
	}
	return func(x Maps) (Maps, error) {
		for _, run := range layers {
			var err error
			if x, err = run(x); err != nil {
				return x, err
			}
		}
		return x, nil
	}, in, nil
}

// Branches are nodes with the same input, their outputs stacked by channel.
type Branches []Node

func (b Branches) build(net *Net, weights checkpoint.Source, in int) (layer, int, error) {
	layers := make([]layer, len(b))
	total := 0
	for i, node := range b {
		run, out, err := node.build(net, weights, in)
		if err != nil {
			return nil, 0, err
		}
		layers[i] = run
		total += out
	}
	return func(x Maps) (Maps, error) {
		var all Maps
		from := 0
		for _, run := range layers {
			y, err := run(x)
			if err != nil {
				return x, err
			}
			if all.Values == nil {
				all = New(y.N, total, y.H, y.W)
			}
			if y.H != all.H || y.W != all.W {
				return x, fmt.Errorf("convnet: branches of %d×%d and %d×%d pixels can't be stacked", all.H, all.W, y.H, y.W)
			}
			for n := range y.N {
				copy(all.Image(n)[from*y.H*y.W:], y.Image(n))
			}
			from += y.C
		}
		return all, nil
	}, total, nil
}

// Tap shows the maps at its place to the function given to [Net.Run].
type Tap struct{}

func (Tap) build(net *Net, _ checkpoint.Source, in int) (layer, int, error) {
	return func(x Maps) (Maps, error) {
		if net.tap != nil {
			net.tap(x)
		}
		return x, nil
	}, in, nil
}
