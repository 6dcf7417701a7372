package convnet

import (
	"fmt"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// batchNorm is y = (x − mean)·scale + beta per channel (Ioffe & Szegedy 2015), with
// scale = gamma/√(variance + ε).
type batchNorm struct {
	eps               float64
	gamma, beta, mean []float32
	scale             []float64
}

func (c Conv) loadNorm(from checkpoint.Source) (*batchNorm, error) {
	b := &batchNorm{eps: c.BatchNorm, scale: make([]float64, c.Out)}
	var variance []float32
	for _, part := range []struct {
		name string
		to   *[]float32
	}{{"weight", &b.gamma}, {"bias", &b.beta}, {"running_mean", &b.mean}, {"running_var", &variance}} {
		var err error
		if *part.to, err = from.Floats(c.Name+".bn."+part.name, c.Out); err != nil {
			return nil, err
		}
	}
	for o, v := range variance {
		if v < 0 {
			return nil, fmt.Errorf("convnet: %s.bn.running_var[%d] is %g, want a variance ≥ 0", c.Name, o, v)
		}
		b.scale[o] = float64(b.gamma[o]) / math.Sqrt(float64(v)+b.eps)
	}
	return b, nil
}

// fold multiplies a convolution's weights [Out, …], in place, by the scale.
func (b *batchNorm) fold(weight []float32) []float32 {
	size := len(weight) / len(b.scale)
	for i, w := range weight {
		weight[i] = float32(float64(w) * b.scale[i/size])
	}
	return weight
}

// bias returns what the normalisation adds to a convolution with folded weights.
func (b *batchNorm) bias() []float32 {
	out := make([]float32, len(b.scale))
	for o, scale := range b.scale {
		out[o] = float32(float64(b.beta[o]) - float64(b.mean[o])*scale)
	}
	return out
}

// ofBatch normalises maps in place by their own mean and (biased) variance.
func (b *batchNorm) ofBatch(y Maps) {
	hw := y.H * y.W
	count := float64(y.N * hw)
	for o := range y.C {
		each := func(f func(v *float32)) {
			for n := range y.N {
				plane := y.Image(n)[o*hw : (o+1)*hw]
				for i := range plane {
					f(&plane[i])
				}
			}
		}
		var mean, variance float64
		each(func(v *float32) { mean += float64(*v) / count })
		each(func(v *float32) { variance += (float64(*v) - mean) * (float64(*v) - mean) / count })
		scale := float64(b.gamma[o]) / math.Sqrt(variance+b.eps)
		each(func(v *float32) { *v = float32((float64(*v)-mean)*scale + float64(b.beta[o])) })
	}
}
