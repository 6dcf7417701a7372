package golden

import (
	"context"
	"io/fs"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/metric"
)

// imageMetrics compare two batches of images on [0, 1], one value an image.
var imageMetrics = map[string]func(x, y []float32, n, c, h, w int) ([]float64, error){
	"psnr": metric.PSNR[float32],
	"ssim": metric.SSIM[float32],
}

// metricCases checks metrics.safetensors.
func metricCases(dir fs.FS, _ Options) ([]computetest.Case, error) {
	v, ok, err := open(dir, "metrics.safetensors")
	if err != nil || !ok {
		return nil, err
	}
	var cases []computetest.Case
	for _, name := range []string{"psnr", "ssim", "lpips_alex", "lpips_vgg", "lpips_squeeze", "inception_pool3", "frechet"} {
		if !v.has(name) {
			continue
		}
		f, ok := imageMetrics[name]
		if !ok {
			cases = append(cases, later("metric", name, name))
			continue
		}
		cases = append(cases, check("metric", name, 1e-4, func(context.Context, compute.Device) (float64, error) {
			s, err := v.shape("x")
			if err != nil {
				return 0, err
			}
			x, err := v.values("x")
			if err != nil {
				return 0, err
			}
			y, err := v.values("y")
			if err != nil {
				return 0, err
			}
			want, err := v.values(name)
			if err != nil {
				return 0, err
			}
			got, err := f(x, y, s[0], s[1], s[2], s[3])
			if err != nil {
				return 0, err
			}
			return relative(got[:len(want)], want), nil
		}))
	}
	return cases, nil
}
