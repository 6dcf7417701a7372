package cpu

import "github.com/cmi-diffusion/cmi/sdk/compute"

// mapCall holds the arguments of the map that is running.
type mapCall struct {
	compute.Map
	dst compute.Tensor
	x   [4]compute.Tensor
	n   int // sources
	run mapKernel
}

// mapKernel computes a map of the values at the same places of all sources.
type mapKernel func(k *kernels, dst []float32, m *compute.Map, x *[4][]float32)

// mapKernels holds, by function and order, the maps that have a kernel of the instruction
// sets or a fast loop. All others are computed by mapGo.
var mapKernels = [compute.MapFuncs][3]mapKernel{
	compute.MapClamp: {clampGo, clampSlopeGo},
	compute.MapExp: {
		func(k *kernels, dst []float32, m *compute.Map, x *[4][]float32) { k.exp(dst, x[0], m.P[0], m.P[1]) },
	},
	compute.MapSiLU: {
		func(k *kernels, dst []float32, _ *compute.Map, x *[4][]float32) { k.silu(dst, x[0], &plain) },
		func(k *kernels, dst []float32, m *compute.Map, x *[4][]float32) {
			k.tangent(dst, x[0], x[1], &plain, m.Accumulate)
		},
		func(k *kernels, dst []float32, _ *compute.Map, x *[4][]float32) {
			k.second(dst, x[0], x[1], x[2], x[3], &plain)
		},
	},
}

// Map implements [compute.Pointwise].
func (d *Device) Map(dst compute.Tensor, m compute.Map, sources ...compute.Tensor) {
	if !d.MapFits(dst, m, sources) {
		return
	}
	c := &d.mapped
	*c = mapCall{Map: m, dst: dst, n: len(sources), run: mapKernels[m.Func][m.Order]}
	copy(c.x[:], sources)
	if c.run == nil {
		c.run = mapGo
	}
	d.spans(dst.N, dst.Len(), func(d *Device, w *worker, n, i, j int) {
		c := &d.mapped
		for k, t := range c.x[:c.n] {
			w.sources[k] = image(t, n)[i:j]
		}
		c.run(d.k, image(c.dst, n)[i:j], &c.Map, &w.sources)
	})
}

// mapGo computes any map by its scalar functions in float64.
func mapGo(_ *kernels, dst []float32, m *compute.Map, sources *[4][]float32) {
	f, x, a := m.Func.Scalar(m.Order), sources[0], sources[1]
	switch {
	case m.Order == 0:
		for i := range dst {
			dst[i] = float32(f(float64(x[i]), &m.P))
		}
	case m.Order == 2:
		slope, b, ab := m.Func.Scalar(1), sources[2], sources[3]
		for i := range dst {
			v := float64(x[i])
			dst[i] = float32(f(v, &m.P)*(float64(a[i])*float64(b[i])) + slope(v, &m.P)*float64(ab[i]))
		}
	case m.Accumulate:
		for i := range dst {
			dst[i] += float32(f(float64(x[i]), &m.P)) * a[i]
		}
	default:
		for i := range dst {
			dst[i] = float32(f(float64(x[i]), &m.P)) * a[i]
		}
	}
}

func clampGo(_ *kernels, dst []float32, m *compute.Map, sources *[4][]float32) {
	lo, hi, x := m.P[0], m.P[1], sources[0][:len(dst)]
	for i, v := range x {
		dst[i] = min(max(v, lo), hi)
	}
}

func clampSlopeGo(_ *kernels, dst []float32, m *compute.Map, sources *[4][]float32) {
	lo, hi, x, a := m.P[0], m.P[1], sources[0][:len(dst)], sources[1][:len(dst)]
	for i, v := range x {
		var slope float32
		if lo <= v && v <= hi {
			slope = a[i]
		}
		if m.Accumulate {
			slope += dst[i]
		}
		dst[i] = slope
	}
}
