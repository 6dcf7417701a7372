package measure

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// PoissonMeasure simulates photon counts: of p = (A x + 1)/2 limited to [0, 1] it
// draws
//
//	y = 2·Poisson(255·rate·p)/(255·rate) − 1, limited to [−1, 1]
//
// as the code of DPS (Chung et al. 2023) does, zero where nothing is measured. x is
// dense [N, In] and the result [N, Out]; rate is above 0 and at most 1e6, 1 in the
// paper. The standard deviation of y is 2√(p/(255·rate)): 0.09 for mid-grey at rate
// 1, which serves as σ_y in methods that want one. Counts are drawn in order from
// rng: measure images one by one where they must not depend on their batch.
//
// The counts presume measurements on the images' scale, [−1, 1]: masks, blurs and
// reductions, not phase retrieval or a matrix of any scale.
func PoissonMeasure(dev compute.Device, op Linear, x []float32, rate float64, rng *rand.Rand) ([]float32, error) {
	if !(rate > 0 && rate <= 1e6) {
		return nil, fmt.Errorf("the rate of Poisson noise is %v, a number above 0 and at most 1e6 is wanted (1 in the paper)", rate)
	}
	c, h, w := op.In()
	n := len(x) / (c * h * w)
	yc, yh, yw := op.Out()
	clean, err := Measure(dev, op, x, make([]float32, n*yc*yh*yw), 0)
	if err != nil {
		return nil, err
	}
	counts := 255 * rate
	for i, v := range clean {
		if v-v != 0 {
			return nil, fmt.Errorf("value %d of %s is %v before the Poisson noise, finite ones are wanted", i, op.Name(), v)
		}
		p := min(max((float64(v)+1)/2, 0), 1)
		drawn := distuv.Poisson{Lambda: counts * p, Src: rng}.Rand()
		clean[i] = float32(min(2*drawn/counts-1, 1))
	}
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	y := ws.FromHost(clean, n, yc, yh, yw)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	op.Scale(y, y, 1)
	return compute.ToHost(dev, y)
}

// PoissonWeight returns what the gradient of DPS is multiplied by under Poisson noise.
// Its misfit is then mean_i(‖r‖/|y_i|) = ‖r‖·mean_i(1/|y_i|) with r = y − A x̂0, one
// norm over all of an image and y given, so that the gradient is that of ‖r‖ times
// the mean of 1/|y_i|, returned here for the measurement y of one image.
//
// Values of exactly zero are left out: those that are not measured, and, where
// 255·rate is even, counts of half that, for which the published weight is infinite.
// It is 1 where nothing is left.
func PoissonWeight(y []float32) float64 {
	sum, n := 0.0, 0
	for _, v := range y {
		if v != 0 {
			sum += 1 / math.Abs(float64(v))
			n++
		}
	}
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}
