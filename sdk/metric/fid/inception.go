package fid

import (
	"fmt"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/metric/convnet"
)

// Inception is the Inception v3 network of the FID (Szegedy et al. 2016, as trained
// for TensorFlow on 2015-12-05 with 1008 classes), with its weights on a device.
// One goroutine uses it at a time.
type Inception struct {
	net   *convnet.Net
	batch int // images that pass together; 0 for all
}

// Dim is the number of features that Inception gives, those of layer pool3.
const Dim = 2048

// LoadInception reads the PyTorch port pt_inception-2015-12-05-….pth, the network
// with which published FIDs are computed. torchvision's own inception_v3 has the
// same layers but other weights, and gives other numbers.
func LoadInception(dev compute.Device, weights checkpoint.Source) (*Inception, error) {
	// One image at a time: 299×299 pixels are work enough.
	return loadInception(convnet.Load, dev, weights, 1)
}

// LoadTrainingInception returns the network in training mode, which normalises by the
// statistics of the images it is given together. Its features are not those of the
// FID; it is here to compare with references that were computed so.
func LoadTrainingInception(dev compute.Device, weights checkpoint.Source) (*Inception, error) {
	return loadInception(convnet.LoadTraining, dev, weights, 0)
}

func loadInception(load func(compute.Device, checkpoint.Source, convnet.Node, int) (*convnet.Net, error), dev compute.Device, weights checkpoint.Source, batch int) (*Inception, error) {
	net, err := load(dev, weights, inception, 3)
	if err != nil {
		return nil, fmt.Errorf("Inception v3: %w", err)
	}
	return &Inception{net, batch}, nil
}

// Backbone returns the network's name.
func (*Inception) Backbone() string { return "Inception v3" }

// Close releases the network's memory on the device, not the device.
func (m *Inception) Close() { m.net.Close() }

// Features returns the pool3 features of images [N,3,H,W], RGB on [0, 1], dim = [Dim]
// values an image. Images are first resized to 299×299 as the PyTorch port does it:
// bilinear, corners not aligned, without antialiasing.
func (m *Inception) Features(x []float32, n, c, h, w int) (features []float32, dim int, err error) {
	size := c * h * w
	if n < 1 || c != 3 || h < 1 || w < 1 || len(x) != n*size {
		return nil, 0, fmt.Errorf("FID: %d values as %d×%d×%d×%d, want N×3×H×W", len(x), n, c, h, w)
	}
	if bad := slices.IndexFunc(x, func(v float32) bool { return v-v != 0 }); bad >= 0 {
		return nil, 0, fmt.Errorf("FID: image %d of %d holds %v, want finite values", bad/size, n, x[bad])
	}
	batch := m.batch
	if batch == 0 {
		batch = n
	}
	for i := 0; i < n; i += batch {
		count := min(batch, n-i)
		in := resize(convnet.Maps{N: count, C: 3, H: h, W: w, Values: x[i*size : (i+count)*size]}, 299, 299)
		for k, v := range in.Values {
			in.Values[k] = 2*v - 1
		}
		out, err := m.net.Run(in, nil)
		if err != nil {
			return nil, 0, fmt.Errorf("FID: image %d: %w", i, err)
		}
		features = append(features, out.Mean()...)
	}
	return features, Dim, nil
}

// resize is bilinear interpolation with aligned edges (not corners), clamped at the
// border.
func resize(x convnet.Maps, h, w int) convnet.Maps {
	type tap struct {
		a, b int
		t    float32
	}
	taps := func(from, to int) []tap {
		out := make([]tap, to)
		scale := float32(from) / float32(to)
		for i := range out {
			at := max(0, (float32(i)+.5)*scale-.5)
			a := min(int(at), from-1)
			out[i] = tap{a, min(a+1, from-1), at - float32(a)}
		}
		return out
	}
	rows, columns := taps(x.H, h), taps(x.W, w)
	out := convnet.New(x.N, x.C, h, w)
	for plane := range x.N * x.C {
		src := x.Values[plane*x.H*x.W : (plane+1)*x.H*x.W]
		for i, r := range rows {
			a, b := src[r.a*x.W:(r.a+1)*x.W], src[r.b*x.W:(r.b+1)*x.W]
			dst := out.Values[(plane*h+i)*w:][:w]
			for j, c := range columns {
				upper := a[c.a] + c.t*(a[c.b]-a[c.a])
				lower := b[c.a] + c.t*(b[c.b]-b[c.a])
				dst[j] = upper + r.t*(lower-upper)
			}
		}
	}
	return out
}
