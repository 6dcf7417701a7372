package computetest

import (
	"math"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func abs(x float64) float64  { return math.Abs(x) }
func sqrt(x float64) float64 { return math.Sqrt(x) }

// oracle evaluates graphs in float64 with the naive references. It has values
// only: derivatives are taken as differences of them.
type oracle struct{ compute.Device }

// wide is an array of the oracle.
type wide struct{ v []float64 }

func (w *wide) Len() int { return len(w.v) }

type wideWeights struct {
	compute.ConvShape
	weight, bias []float64
}

func (w *wideWeights) Shape() compute.ConvShape { return w.ConvShape }

// Free implements [compute.Weights].
func (w *wideWeights) Free() {}

func (oracle) Info() compute.Info                  { return compute.Info{Name: "oracle"} }
func (oracle) Alloc(n int) (compute.Buffer, error) { return &wide{make([]float64, n)}, nil }
func (oracle) Free(compute.Buffer)                 {}
func (o oracle) Write(dst compute.Tensor, src []float32) {
	o.put(dst, FromFloat32(src, dst.N, dst.C, dst.H, dst.W))
}

func (oracle) hold(a Array) compute.Tensor {
	return compute.Dense(&wide{a.V}, a.N, a.C, a.H, a.W)
}

func (oracle) get(t compute.Tensor) Array {
	a := NewArray(t.N, t.C, t.H, t.W)
	for n := range t.N {
		copy(a.Image(n), t.Buf.(*wide).v[t.Off+n*t.Pitch:])
	}
	return a
}

func (oracle) put(t compute.Tensor, a Array) {
	for n := range t.N {
		copy(t.Buf.(*wide).v[t.Off+n*t.Pitch:][:t.Len()], a.Image(n))
	}
}

func float64s(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func (oracle) PrepareConv(s compute.ConvShape, weight, bias []float32) (compute.Weights, error) {
	return &wideWeights{s, float64s(weight), float64s(bias)}, nil
}

func (o oracle) Conv(dst, src compute.Tensor, w compute.Weights, mode compute.ConvMode) {
	p, bias := w.(*wideWeights), []float64(nil)
	if mode.Bias {
		bias = p.bias
	}
	y := RefConv(o.get(src), p.weight, bias, p.Out, p.Kernel)
	if mode.Add.Buf != nil {
		y = y.plus(1, o.get(mode.Add))
	}
	o.put(dst, y)
}

func (o oracle) Resample(dst, src compute.Tensor, kind compute.Resampling, scale float32, _ bool) {
	o.put(dst, RefResample(o.get(src), kind, float64(scale)))
}

func (o oracle) Separable(dst, src, l, r compute.Tensor, _ bool) {
	o.put(dst, RefSeparable(o.get(src), o.get(l), o.get(r)))
}

func (o oracle) Map(dst compute.Tensor, m compute.Map, sources ...compute.Tensor) {
	f := m.Func.Scalar(0)
	o.put(dst, o.get(sources[0]).Map(func(x float64) float64 { return f(x, &m.P) }))
}

func (o oracle) GroupNorm(dst, x, stats compute.Tensor, p compute.Norm) {
	n := RefNorm{Groups: p.Groups, Eps: float64(p.Eps), Gamma: o.get(p.Gamma).V, Beta: o.get(p.Beta).V, SiLU: p.SiLU}
	if p.Scale.Buf != nil {
		n.Scale, n.Shift = o.get(p.Scale), o.get(p.Shift)
	}
	y, s := RefGroupNorm(o.get(x), n)
	o.put(dst, y)
	o.put(stats, s)
}

func (o oracle) Attention(dst, x compute.Tensor, h compute.Heads) {
	o.put(dst, RefAttention(o.get(x), h))
}

func (o oracle) Combine(dst compute.Tensor, terms ...compute.Term) {
	var ref []RefTerm
	for _, t := range terms {
		ref = append(ref, RefTerm{o.get(t.X), t.Coef})
	}
	o.put(dst, RefCombine(dst.N, ref...))
}

func (o oracle) AddChannel(dst, x, e compute.Tensor) { o.put(dst, RefAddChannel(o.get(x), o.get(e))) }
