package measure

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Measure simulates measurements y = A x + σ n (f(x) + σ n for a nonlinear model) of
// images x, dense [N, In], with the given unit noise, dense [N, Out]. The result
// [N, Out] is zero where nothing is measured; so is the noise. σ ≥ 0 is on the scale
// of the images, [−1, 1].
func Measure(dev compute.Device, op Operator, x, noise []float32, sigma float64) ([]float32, error) {
	c, h, w := op.In()
	yc, yh, yw := op.Out()
	n := len(x) / (c * h * w)
	if n < 1 || len(x) != n*c*h*w || len(noise) != n*yc*yh*yw {
		return nil, fmt.Errorf("%d image values and %d noise values for %s: %d and %d for each image are wanted", len(x), len(noise), op.Name(), c*h*w, yc*yh*yw)
	}
	if !(sigma >= 0) || math.IsInf(sigma, 0) {
		return nil, fmt.Errorf("the measurement noise is %v, a number ≥ 0 is wanted (0.05 in the paper)", sigma)
	}
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	image := ws.FromHost(x, n, c, h, w)
	z := ws.FromHost(noise, n, yc, yh, yw)
	y := ws.Like(z)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	op.Apply(y, image)
	if a, ok := op.(Linear); ok {
		a.Scale(z, z, 1)
	}
	dev.Combine(y, compute.Times(1, y), compute.Times(sigma, z))
	return compute.ToHost(dev, y)
}

// MeasuredPixels is 1 where a pixel of one measurement is measured and 0 elsewhere,
// h·w values; nil where all are. Channels share it.
func MeasuredPixels(dev compute.Device, op Operator) ([]float32, error) {
	c, h, w := op.Out()
	a, ok := op.(Linear)
	if !ok || a.Measured() == c*h*w {
		return nil, nil
	}
	ones := make([]float32, c*h*w)
	for i := range ones {
		ones[i] = 1
	}
	t, err := compute.FromHost(dev, ones, 1, c, h, w)
	if err != nil {
		return nil, err
	}
	defer dev.Free(t.Buf)
	a.Scale(t, t, 1)
	err = dev.Read(ones, t)
	return ones[:h*w], err
}
