package computetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Networks returns the suite of a whole network: value, VJP, JVP, second-order jets
// and several directions at once, on a small graph that has every operation and
// every way in which values are shared, against float64 differences of the same
// graph's value on the oracle.
func Networks(quick bool) []Case {
	var cases []Case
	add := func(name string, bound float64, run func(t *networkTrial) (float64, error)) {
		cases = append(cases, Case{"network", name, bound, func(_ context.Context, dev compute.Device) (float64, error) {
			t, err := newNetworkTrial(dev, name)
			if err != nil {
				return 0, err
			}
			defer t.close()
			return run(t)
		}})
	}
	// The bounds are those of a network: rounding grows through its twenty layers.
	add("value", 1e-5, func(t *networkTrial) (float64, error) {
		return t.compare(t.point, t.value(t.x))
	})
	add("JVP", 1e-5, func(t *networkTrial) (float64, error) {
		got, err := t.net.JVP(t.on(t.v))
		return t.compareWith(got, err, t.tangent(t.v))
	})
	add("second derivative along one direction", 1e-4, func(t *networkTrial) (float64, error) {
		v := t.on(t.v)
		got, err := t.net.Second(v, v)
		return t.compareWith(got, err, t.second(t.v, t.v))
	})
	add("second derivative along cached directions", 1e-4, func(t *networkTrial) (float64, error) {
		const directions = 7 // more than Combine takes at once
		coef, along := make([][]float64, directions), t.v.Like()
		each := len(along.V) / along.N
		for k := range coef {
			v := normal(t.rng, 1, 0, t.x.N, t.x.C, t.x.H, t.x.W)
			for n := range t.x.N {
				c := t.rng.NormFloat64()
				coef[k] = append(coef[k], c)
				for i := n * each; i < (n+1)*each; i++ {
					along.V[i] += c * v.V[i]
				}
			}
			got, err := t.net.JVPCached(k, t.on(v))
			if e, err := t.compareWith(got, err, t.tangent(v)); err != nil || e > 1e-5 {
				return e, err
			}
		}
		got, err := t.net.SecondCached(coef)
		return t.compareWith(got, err, t.second(along, along))
	})
	add("VJP against float64 tangents", 1e-5, func(t *networkTrial) (float64, error) {
		got, err := t.net.VJP(t.on(t.u))
		if err != nil {
			return 0, err
		}
		grad, err := t.read(got)
		if err != nil {
			return 0, err
		}
		worst := 0.0
		for range 3 {
			v := normal(t.rng, 1, 0, t.x.N, t.x.C, t.x.H, t.x.W)
			jv := t.tangent(v)
			var uJv, JuV, u2, j2 float64
			for i, u := range t.u.V {
				uJv, u2, j2 = uJv+u*jv.V[i], u2+u*u, j2+jv.V[i]*jv.V[i]
			}
			for i, g := range grad.V {
				JuV += g * v.V[i]
			}
			worst = max(worst, finite(abs(uJv-JuV)/(sqrt(u2)*sqrt(j2))))
		}
		return worst, nil
	})
	add("passes repeated at another point and back", 0, func(t *networkTrial) (float64, error) {
		passes := func(x Array) (results []Array, err error) {
			keep := func(got compute.Tensor, failure error) {
				if err = errors.Join(err, failure); err == nil {
					var a Array
					a, err = t.read(got)
					results = append(results, a)
				}
			}
			keep(t.net.Value(t.on(x), t.aux))
			keep(t.net.VJP(t.on(t.u)))
			keep(t.net.JVP(t.on(t.v)))
			v := t.on(t.w)
			keep(t.net.Second(v, v))
			return results, err
		}
		var rounds [4][]Array
		for k, x := range []Array{t.x, t.x, t.v, t.x} { // arrays grow in the first round
			var err error
			if rounds[k], err = passes(x); err != nil {
				return 0, err
			}
		}
		worst := 0.0
		for i, first := range rounds[0] {
			worst = max(worst, RelativeError(rounds[1][i].V, first.V), RelativeError(rounds[3][i].V, first.V))
			if RelativeError(rounds[2][i].V, first.V) < 1e-3 {
				return 0, errors.New("another point gave the same result")
			}
		}
		return worst, nil
	})
	if quick {
		return cases
	}
	add("second derivative along two directions", 1e-4, func(t *networkTrial) (float64, error) {
		got, err := t.net.Second(t.on(t.v), t.on(t.w))
		return t.compareWith(got, err, t.second(t.v, t.w))
	})
	add("three directions at once", 1e-5, func(t *networkTrial) (float64, error) {
		v := normal(t.rng, 1, 0, 3*t.x.N, t.x.C, t.x.H, t.x.W)
		got, err := t.net.JVP(t.on(v))
		return t.compareWith(got, err, t.tangent(v))
	})
	add("derivatives leave the point as it is", 0, func(t *networkTrial) (float64, error) {
		before, err := t.read(t.point)
		if err != nil {
			return 0, err
		}
		v := t.on(t.v)
		if _, err := t.net.VJP(t.on(t.u)); err != nil {
			return 0, err
		}
		first, err := t.net.JVP(v)
		if err != nil {
			return 0, err
		}
		jv, err := t.read(first)
		if err != nil {
			return 0, err
		}
		if _, err := t.net.Second(v, t.on(t.w)); err != nil {
			return 0, err
		}
		again, err := t.net.JVP(v)
		if err != nil {
			return 0, err
		}
		jv2, err := t.read(again)
		if err != nil {
			return 0, err
		}
		after, err := t.read(t.point)
		return RelativeError(after.V, before.V) + RelativeError(jv2.V, jv.V), err
	})
	return cases
}

// networkTrial is the graph on the device and on the oracle, and its inputs.
type networkTrial struct {
	rng        *rand.Rand
	dev        compute.Device
	ws         *compute.Workspace
	net, ref   *compute.Network
	x, u, v, w Array
	aux        []float32
	point      compute.Tensor
}

func newNetworkTrial(dev compute.Device, name string) (*networkTrial, error) {
	t := &networkTrial{rng: rand.New(rand.NewPCG(seedOf(name), 2)), dev: dev, ws: compute.NewWorkspace(dev)}
	const images, channels, side, embedding = 2, 3, 8, 5
	draw := func(c int) Array { return normal(t.rng, 1, 0, images, c, side, side) }
	t.x, t.v, t.w, t.u = draw(channels), draw(channels), draw(channels), draw(4)
	t.aux = normal(t.rng, 1, 0, images, embedding, 1, 1).Float32()
	var err error
	if t.net, err = specimen(channels, side, embedding).Compile(dev, randomWeights{}); err != nil {
		return nil, err
	}
	if t.ref, err = specimen(channels, side, embedding).Compile(oracle{}, randomWeights{}); err != nil {
		return nil, err
	}
	if t.point, err = t.net.Value(t.on(t.x), t.aux); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// specimen returns a small network with every operation, with a value used twice, a
// residual sum, a skip that crosses levels, and concatenations of fresh and old values.
func specimen(channels, side, embedding int) *compute.Graph {
	g, x, aux := compute.NewGraph(channels, side, side, embedding)
	conv := func(name string, x compute.Node, out, k int) compute.Node {
		return g.Conv(x, compute.Layer{Name: name, Out: out, Kernel: k})
	}
	norm := func(name string, x, s compute.Node, silu bool) compute.Node {
		return g.GroupNorm(x, s, compute.NormLayer{Name: name, Groups: 4, Eps: 1e-5, SiLU: silu})
	}
	emb := conv("emb", g.Slice(aux, 1, embedding), 16, 1)
	emb = g.SiLU(g.AddChannel(emb, conv("class", g.Slice(aux, 0, 1), 16, 1)))
	first := conv("first", x, 8, 3)
	h := norm("n1", first, compute.NoNode, true)
	h = norm("n2", conv("c1", h, 8, 3), conv("ss", emb, 16, 1), true)
	h = g.ConvAdd(h, first, compute.Layer{Name: "c2", Out: 8, Kernel: 3})
	level := h
	h = g.Resample(h, compute.SumDown2, 0.25)
	h = g.AddChannel(conv("c3", h, 16, 3), conv("ec", emb, 16, 1))
	inner := h
	qkv := conv("qkv", norm("n3", h, compute.NoNode, false), 48, 1)
	h = g.ConvAdd(g.Attention(qkv, compute.Heads{Count: 2}), h, compute.Layer{Name: "proj", Out: 16, Kernel: 1})
	h = g.Resample(conv("op", h, 16, 3), compute.Subsample2, 1)
	qkv = conv("qkv2", g.SiLU(h), 48, 1)
	h = g.ConvAdd(g.Attention(qkv, compute.Heads{Count: 4, Split: true}), h, compute.Layer{Name: "proj2", Out: 16, Kernel: 1})
	h = g.Resample(h, compute.Up2, 1)
	h = g.Concat(h, inner)
	h = g.ConvAdd(norm("n4", h, compute.NoNode, true), conv("skip", h, 8, 1), compute.Layer{Name: "c4", Out: 8, Kernel: 3})
	h = g.Resample(g.Sum(0.7, h, conv("again", h, 8, 1)), compute.ZeroInsert2, 1)
	left, right := randomWeights{}.matrix("left", side, side), randomWeights{}.matrix("right", side, side)
	h = g.Separable(h, left, right)
	h = g.Concat(conv("c5", h, 8, 3), level)
	g.SetOutput(conv("out", norm("n5", h, compute.NoNode, true), 4, 3))
	return g
}

// randomWeights are weights of a sensible scale, drawn by name.
type randomWeights struct{}

func (randomWeights) Floats(name string, shape ...int) ([]float32, error) {
	count, fan := 1, 1
	for i, s := range shape {
		count *= s
		if i > 0 {
			fan *= s
		}
	}
	a := normal(rand.New(rand.NewPCG(seedOf(name), 3)), 1/sqrt(float64(fan)), 0, 1, 1, 1, count)
	return a.Float32(), nil
}

func (w randomWeights) matrix(name string, rows, columns int) []float32 {
	m, _ := w.Floats(name, rows, columns) // which never fails
	return m
}

func (t *networkTrial) close() {
	if t.net != nil {
		t.net.Close()
	}
	t.ws.Free()
}

func (t *networkTrial) on(a Array) compute.Tensor {
	return t.ws.FromHost(a.Float32(), a.N, a.C, a.H, a.W)
}

func (t *networkTrial) read(x compute.Tensor) (Array, error) {
	host, err := compute.ToHost(t.dev, x)
	return FromFloat32(host, x.N, x.C, x.H, x.W), errors.Join(t.ws.Err(), err)
}

func (t *networkTrial) compare(got compute.Tensor, want Array) (float64, error) {
	return t.compareWith(got, nil, want)
}

func (t *networkTrial) compareWith(got compute.Tensor, err error, want Array) (float64, error) {
	if err != nil {
		return 0, err
	}
	a, err := t.read(got)
	return RelativeError(a.V, want.V), err
}

// value returns the graph's value in float64. Images beyond the point's repeat its
// second input.
func (t *networkTrial) value(x Array) Array {
	each := len(t.aux) / t.x.N
	aux := make([]float32, 0, x.N*each)
	for n := range x.N {
		aux = append(aux, t.aux[n%t.x.N*each:][:each]...)
	}
	out, err := t.ref.Value(oracle{}.hold(x), aux)
	if err != nil {
		panic(fmt.Sprintf("the oracle refuses its own graph: %v", err))
	}
	return oracle{}.get(out)
}

func (t *networkTrial) tangent(v Array) Array {
	d, _ := RefTangent(t.value, t.x, v, 0.02)
	return d
}

func (t *networkTrial) second(v, w Array) Array {
	d, _ := RefSecond(t.value, t.x, v, w, v.Like(), 0.05)
	return d
}
