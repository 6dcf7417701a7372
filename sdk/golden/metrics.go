package golden

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/metric/lpips"
)

// metricBound is the relative error allowed in metrics.safetensors.
const metricBound = 1e-4

// metrics are the quantities of metrics.safetensors by name, and how to find the
// error of what is computed here. The slow ones are large networks.
var metrics = []struct {
	name string
	slow bool
	err  func(dev compute.Device, v *vectors, name string) (float64, error)
}{
	{"psnr", false, images(metric.PSNR[float32])},
	{"ssim", false, images(metric.SSIM[float32])},
	{"lpips_alex", false, perceptual},
	{"lpips_squeeze", false, perceptual},
	{"lpips_vgg", true, perceptual},
	{"inception_pool3", true, inception},
	{"frechet", false, frechet},
}

// metricCases checks metrics.safetensors.
func metricCases(dir fs.FS, o Options) ([]computetest.Case, error) {
	v, ok, err := open(dir, "metrics.safetensors")
	if err != nil || !ok {
		return nil, err
	}
	var cases []computetest.Case
	for _, m := range metrics {
		if !v.has(m.name) || o.Quick && m.slow {
			continue
		}
		cases = append(cases, check("metric", m.name, metricBound, func(_ context.Context, dev compute.Device) (float64, error) {
			e, err := m.err(dev, v, m.name)
			if err != nil {
				return e, fmt.Errorf("%s: %s: %w", v.name, m.name, err)
			}
			return e, nil
		}))
	}
	return cases, nil
}

// pairs of images on [0, 1] and their shape.
func (v *vectors) pairs() (x, y []float32, s [4]int, err error) {
	if s, err = v.shape("x"); err != nil {
		return nil, nil, s, err
	}
	if x, err = v.values("x"); err != nil {
		return nil, nil, s, err
	}
	y, err = v.values("y")
	return x, y, s, err
}

// against returns the error of one value an image. Vectors may have fewer: PSNR has none
// for images that are equal.
func (v *vectors) against(name string, got []float64) (float64, error) {
	want, err := v.values(name)
	if err != nil {
		return 0, err
	}
	if len(want) > len(got) {
		return 0, fmt.Errorf("%d values for %d images", len(want), len(got))
	}
	return relative(got[:len(want)], want), nil
}

// images returns the error of a metric of pairs.
func images(f metric.Distance) func(compute.Device, *vectors, string) (float64, error) {
	return func(_ compute.Device, v *vectors, name string) (float64, error) {
		x, y, s, err := v.pairs()
		if err != nil {
			return 0, err
		}
		got, err := f(x, y, s[0], s[1], s[2], s[3])
		if err != nil {
			return 0, err
		}
		return v.against(name, got)
	}
}

// perceptual returns the error of LPIPS on the network after lpips_.
func perceptual(dev compute.Device, v *vectors, name string) (float64, error) {
	m, err := lpips.Load(dev, strings.TrimPrefix(name, "lpips_"), backbone{})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	return images(m.Distance)(dev, v, name)
}

// inception returns the error of the FID's features. The reference computes them in
// training mode, by the statistics of its two images; a reference in evaluation
// mode, as the FID has it, is taken as well. The note says which it was.
func inception(dev compute.Device, v *vectors, name string) (float64, error) {
	x, _, s, err := v.pairs()
	if err != nil {
		return 0, err
	}
	want, err := v.values(name)
	if err != nil {
		return 0, err
	}
	n := len(want) / fid.Dim
	if n > s[0] {
		return 0, fmt.Errorf("features of %d images, there are %d", n, s[0])
	}
	var e float64
	for _, mode := range []struct {
		name string
		load func(compute.Device, checkpoint.Source) (*fid.Inception, error)
	}{{"evaluation", fid.LoadInception}, {"training", fid.LoadTrainingInception}} {
		net, err := mode.load(dev, backbone{})
		if err != nil {
			return 0, err
		}
		got, _, err := net.Features(x[:n*s[1]*s[2]*s[3]], n, s[1], s[2], s[3])
		net.Close()
		if err != nil {
			return 0, err
		}
		if e = relative(got, want); e <= metricBound {
			return e, computetest.Note("the vectors are those of the network in " + mode.name + " mode")
		}
	}
	return e, nil
}

// frechet returns the error of the distance between two sets of features.
func frechet(_ compute.Device, v *vectors, name string) (float64, error) {
	var sets [2]*fid.Statistics
	for i, set := range []string{"frechet_a", "frechet_b"} {
		s, err := v.shape(set)
		if err != nil {
			return 0, err
		}
		features, err := v.values(set)
		if err != nil {
			return 0, err
		}
		if sets[i], err = fid.NewStatistics(features, s[3]); err != nil {
			return 0, err
		}
	}
	d, err := fid.Distance(sets[0], sets[1])
	if err != nil {
		return 0, err
	}
	return v.against(name, []float64{d})
}

// backbone is a checkpoint by formula for the networks of metrics: half the fan-in
// for kernels, since ReLUs follow, and variances of at least 1. It has any tensor,
// in the shape that it is asked for.
type backbone struct{ checkpoint.Formula }

func (backbone) Floats(name string, shape ...int) ([]float32, error) {
	count := checkpoint.Tensor{Shape: shape}.Len()
	switch {
	case len(shape) >= 2:
		return checkpoint.FormulaValues(name, count, float64(count/shape[0])/2), nil
	case strings.HasSuffix(name, "running_mean"):
		return checkpoint.FormulaValues(name, count, 300), nil
	case strings.HasSuffix(name, "running_var"):
		values := checkpoint.FormulaValues(name, count, 3)
		for i, v := range values {
			values[i] = 1 + max(v, -v)
		}
		return values, nil
	}
	return checkpoint.Formula{name: shape}.Floats(name)
}
