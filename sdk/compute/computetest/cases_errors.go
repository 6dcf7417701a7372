package computetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Errors returns the suite of wrong calls, as a user of a device may make them: each
// must become an error of one line that Read, Dot and Sync return from then on,
// and not a panic. A device that has failed stays failed, so open makes one for
// each case, which closes it; Run may be given no device for these cases.
func Errors(open func() (compute.Device, error)) []Case {
	var cases []Case
	add := func(name string, run func(b *bench, good goods) error) {
		cases = append(cases, Case{"errors", name, 0, func(context.Context, compute.Device) (float64, error) {
			dev, err := open()
			if err != nil {
				return 0, fmt.Errorf("opening a device: %w", err)
			}
			defer dev.Close() // says the kept failure again, or nothing
			b := newBench(dev, name)
			defer b.free()
			_, err = b.try(func(b *bench) float64 {
				b.fail(run(b, makeGoods(b)))
				return 0
			})
			return 0, err
		}})
	}
	for _, w := range wrongCalls {
		add(w.name, func(b *bench, g goods) error {
			if err := b.dev.Sync(); err != nil {
				return fmt.Errorf("before the wrong call: %w", err)
			}
			w.call(b.dev, g)
			return kept(b.dev, g)
		})
	}
	for _, w := range refused {
		add(w.name, func(b *bench, g goods) error {
			err := w.call(b.dev, g)
			if err == nil {
				return errors.New("the call should have failed")
			}
			return oneLine(err)
		})
	}
	return cases
}

// goods are right arguments to spoil.
type goods struct {
	x, y    compute.Tensor // 2×6×4×4
	qkv     compute.Tensor // 2×18×4×4
	stats   compute.Tensor // 2×4×1×1
	gamma   compute.Tensor // 1×6×1×1
	kernel  compute.Tensor // 1×1×3×3
	square  compute.Tensor // 1×1×4×4
	weights compute.Weights
	norm    compute.Norm
	heads   compute.Heads
}

func makeGoods(b *bench) goods {
	zeros := func(n, c, h, w int) compute.Tensor { return b.target(channels, NewArray(n, c, h, w)) }
	g := goods{
		x: zeros(2, 6, 4, 4), y: zeros(2, 6, 4, 4), qkv: zeros(2, 18, 4, 4), stats: zeros(2, 4, 1, 1),
		gamma: zeros(1, 6, 1, 1), kernel: zeros(1, 1, 3, 3), square: zeros(1, 1, 4, 4),
	}
	w, err := b.dev.PrepareConv(compute.ConvShape{Out: 6, In: 6, Kernel: 3}, make([]float32, 6*6*9), nil)
	if err != nil {
		b.fail(err)
		panic(abort{})
	}
	g.weights = w
	g.norm = compute.Norm{Groups: 2, Eps: 1e-5, Gamma: g.gamma, Beta: g.gamma}
	g.heads = compute.Heads{Count: 2}
	return g
}

// kept checks that a failure stays and reads well.
func kept(dev compute.Device, g goods) error {
	_, first := compute.ToHost(dev, g.x)
	if first == nil {
		return errors.New("a Read after the wrong call should fail")
	}
	if dev.Sync() == nil {
		return errors.New("a Sync after the wrong call should fail")
	}
	if _, err := compute.Dot(dev, g.x, g.x); err == nil {
		return errors.New("a Dot after the wrong call should fail")
	}
	dev.Mul(g.y, g.x, g.x) // a right call does not mend the device
	if _, err := compute.ToHost(dev, g.x); err == nil || err.Error() != first.Error() {
		return fmt.Errorf("the first failure should be kept: %q became %v", first, err)
	}
	return oneLine(first)
}

func oneLine(err error) error {
	if msg := err.Error(); msg == "" || strings.Contains(msg, "\n") {
		return fmt.Errorf("an error should be one line, got %q", msg)
	}
	return nil
}

// narrow returns a tensor with a channel less, low with a row less.
func narrow(t compute.Tensor) compute.Tensor { return t.Channels(0, t.C-1) }
func low(t compute.Tensor) compute.Tensor    { t.H--; return t }

// beyond returns a tensor that ends after its array.
func beyond(t compute.Tensor) compute.Tensor { t.Off += 1 << 20; return t }

// triple returns a tensor of three images where the others have two.
func triple(t compute.Tensor) compute.Tensor { t.N, t.Pitch = 3, 0; return t }

var wrongCalls = []struct {
	name string
	call func(d compute.Device, g goods)
}{
	{"write of too few values", func(d compute.Device, g goods) { d.Write(g.x, make([]float32, 5)) }},
	{"write without memory", func(d compute.Device, g goods) {
		d.Write(compute.Tensor{N: 1, C: 1, H: 1, W: 1, Pitch: 1}, make([]float32, 1))
	}},
	{"write beyond the array", func(d compute.Device, g goods) { d.Write(beyond(g.x), make([]float32, 192)) }},
	{"write before the array", func(d compute.Device, g goods) { g.x.Off = -1; d.Write(g.x, make([]float32, 192)) }},

	{"conv with a wrong source", func(d compute.Device, g goods) { d.Conv(g.y, narrow(g.x), g.weights, compute.ConvMode{}) }},
	{"conv with a wrong destination", func(d compute.Device, g goods) { d.Conv(narrow(g.y), g.x, g.weights, compute.ConvMode{}) }},
	{"conv with another height", func(d compute.Device, g goods) { d.Conv(low(g.y), g.x, g.weights, compute.ConvMode{}) }},
	{"conv with other images", func(d compute.Device, g goods) { d.Conv(g.y.Images(0, 1), g.x, g.weights, compute.ConvMode{}) }},
	{"conv without weights", func(d compute.Device, g goods) { d.Conv(g.y, g.x, nil, compute.ConvMode{}) }},
	{"conv with a wrong add", func(d compute.Device, g goods) { d.Conv(g.y, g.x, g.weights, compute.ConvMode{Add: narrow(g.x)}) }},
	{"conv without memory", func(d compute.Device, g goods) { g.x.Buf = nil; d.Conv(g.y, g.x, g.weights, compute.ConvMode{}) }},
	{"conv beyond the array", func(d compute.Device, g goods) { d.Conv(beyond(g.y), g.x, g.weights, compute.ConvMode{}) }},

	{"resample to the same size", func(d compute.Device, g goods) { d.Resample(g.y, g.x, compute.Up2, 1, false) }},
	{"resample of an unknown kind", func(d compute.Device, g goods) { d.Resample(g.y, g.x, 9, 1, false) }},
	{"separable with a wrong matrix", func(d compute.Device, g goods) { d.Separable(g.y, g.x, g.kernel, g.square, false) }},
	{"correlate with an even kernel", func(d compute.Device, g goods) { d.Correlate(g.y, g.x, g.square, compute.Circular, false) }},
	{"reflection larger than the image", func(d compute.Device, g goods) {
		d.Correlate(g.y.Reshape(96, 1, 1), g.x.Reshape(96, 1, 1), g.kernel, compute.Reflect, false)
	}},

	{"groupnorm of another shape", func(d compute.Device, g goods) { d.GroupNorm(low(g.y), g.x, g.stats, g.norm) }},
	{"groupnorm with wrong stats", func(d compute.Device, g goods) { d.GroupNorm(g.y, g.x, narrow(g.stats), g.norm) }},
	{"groupnorm in 4 groups of 6 channels", func(d compute.Device, g goods) { g.norm.Groups = 4; d.GroupNorm(g.y, g.x, g.stats, g.norm) }},
	{"groupnorm in no groups", func(d compute.Device, g goods) { g.norm.Groups = 0; d.GroupNorm(g.y, g.x, g.stats, g.norm) }},
	{"groupnorm with a wrong gamma", func(d compute.Device, g goods) {
		g.norm.Gamma = narrow(g.gamma)
		d.GroupNorm(g.y, g.x, g.stats, g.norm)
	}},
	{"groupnorm tangent with a wrong direction", func(d compute.Device, g goods) { d.GroupNormTangent(g.y, g.x, g.stats, narrow(g.x), g.norm) }},
	{"groupnorm second with a wrong direction", func(d compute.Device, g goods) {
		d.GroupNormSecond(g.y, g.x, g.stats, g.x, g.x, narrow(g.x), g.norm)
	}},
	{"groupnorm adjoint with a wrong cotangent", func(d compute.Device, g goods) { d.GroupNormAdjoint(g.y, g.x, g.stats, narrow(g.x), g.norm, false) }},

	{"attention of too few channels", func(d compute.Device, g goods) { d.Attention(g.y, narrow(g.qkv), g.heads) }},
	{"attention with 4 heads of 6 channels", func(d compute.Device, g goods) { d.Attention(g.y, g.qkv, compute.Heads{Count: 4}) }},
	{"attention with no heads", func(d compute.Device, g goods) { d.Attention(g.y, g.qkv, compute.Heads{}) }},
	{"attention tangent with a wrong direction", func(d compute.Device, g goods) { d.AttentionTangent(g.y, g.qkv, g.x, g.heads) }},
	{"attention second with a wrong direction", func(d compute.Device, g goods) { d.AttentionSecond(g.y, g.qkv, g.qkv, g.x, g.qkv, g.heads) }},
	{"attention adjoint with a wrong cotangent", func(d compute.Device, g goods) { d.AttentionAdjoint(g.qkv, g.qkv, narrow(g.x), g.heads, false) }},

	{"combine of no terms", func(d compute.Device, g goods) { d.Combine(g.y) }},
	{"combine of seven terms", func(d compute.Device, g goods) {
		t := compute.Times(1, g.x)
		d.Combine(g.y, t, t, t, t, t, t, t)
	}},
	{"combine with three factors for two images", func(d compute.Device, g goods) { d.Combine(g.y, compute.Term{X: g.x, Coef: []float64{1, 2, 3}}) }},
	{"combine without factors", func(d compute.Device, g goods) { d.Combine(g.y, compute.Term{X: g.x}) }},
	{"combine of another shape", func(d compute.Device, g goods) { d.Combine(g.y, compute.Times(1, narrow(g.x))) }},
	{"addchannel with a whole image", func(d compute.Device, g goods) { d.AddChannel(g.y, g.x, g.x) }},
	{"mul of another shape", func(d compute.Device, g goods) { d.Mul(g.y, g.x, narrow(g.x)) }},
	{"map of another shape", func(d compute.Device, g goods) { d.Map(g.y, compute.SiLU(), narrow(g.x)) }},
	{"map tangent of another shape", func(d compute.Device, g goods) { d.Map(g.y, compute.SiLU().Tangent(), g.x, low(g.x)) }},
	{"map tangent of three images for two", func(d compute.Device, g goods) {
		d.Map(triple(g.y), compute.SiLU().Tangent(), g.x, triple(g.x))
	}},
	{"map second of another shape", func(d compute.Device, g goods) {
		d.Map(g.y, compute.SiLU().Second(), g.x, g.x, narrow(g.x), g.x)
	}},
	{"map adjoint of another shape", func(d compute.Device, g goods) { d.Map(g.y, compute.SiLU().Adjoint(false), g.x, narrow(g.x)) }},
	{"map of no source", func(d compute.Device, g goods) { d.Map(g.y, compute.SiLU()) }},
	{"map tangent without a direction", func(d compute.Device, g goods) { d.Map(g.y, compute.SiLU().Tangent(), g.x) }},
	{"map of an unknown function", func(d compute.Device, g goods) { d.Map(g.y, compute.Map{Func: compute.MapFuncs}, g.x) }},
	{"map with a derivative that it lacks", func(d compute.Device, g goods) { d.Map(g.y, compute.Exp(1, 0).Tangent(), g.x, g.x) }},
	{"map that accumulates a value", func(d compute.Device, g goods) { d.Map(g.y, compute.Map{Func: compute.MapSiLU, Accumulate: true}, g.x) }},
}

// refused are calls that return their error at once.
var refused = []struct {
	name string
	call func(d compute.Device, g goods) error
}{
	{"an array of −1 values", func(d compute.Device, _ goods) error { _, err := d.Alloc(-1); return err }},
	{"read into too few values", func(d compute.Device, g goods) error { return d.Read(make([]float32, 5), g.x) }},
	{"read beyond the array", func(d compute.Device, g goods) error { return d.Read(make([]float32, 192), beyond(g.x)) }},
	{"read without memory", func(d compute.Device, g goods) error { g.x.Buf = nil; return d.Read(make([]float32, 192), g.x) }},
	{"dot of two shapes", func(d compute.Device, g goods) error { _, err := compute.Dot(d, g.x, narrow(g.x)); return err }},
	{"convolution with too few weights", func(d compute.Device, _ goods) error {
		_, err := d.PrepareConv(compute.ConvShape{Out: 6, In: 6, Kernel: 3}, make([]float32, 6), nil)
		return err
	}},
	{"convolution with too few biases", func(d compute.Device, _ goods) error {
		_, err := d.PrepareConv(compute.ConvShape{Out: 6, In: 6, Kernel: 1}, make([]float32, 36), make([]float32, 5))
		return err
	}},
	{"convolution of size 5", func(d compute.Device, _ goods) error {
		_, err := d.PrepareConv(compute.ConvShape{Out: 1, In: 1, Kernel: 5}, make([]float32, 25), nil)
		return err
	}},
}
