package computetest_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// Devices with one mistake each that a person could make.

type noBias struct{ compute.Device }

func (d noBias) Conv(dst, src tensor, w compute.Weights, m compute.ConvMode) {
	m.Bias = false
	d.Device.Conv(dst, src, w, m)
}

type stretchedAdjoint struct{ compute.Device }

func (d stretchedAdjoint) Conv(dst, src tensor, w compute.Weights, m compute.ConvMode) {
	d.Device.Conv(dst, src, w, m)
	if m.Adjoint {
		d.Device.Combine(dst, compute.Times(1.001, dst))
	}
}

type noAddOther struct{ compute.Device }

func (d noAddOther) Conv(dst, src tensor, w compute.Weights, m compute.ConvMode) {
	if m.Add != dst {
		m.Add = tensor{}
	}
	d.Device.Conv(dst, src, w, m)
}

type noAddSelf struct{ compute.Device }

func (d noAddSelf) Conv(dst, src tensor, w compute.Weights, m compute.ConvMode) {
	if m.Add == dst {
		m.Add = tensor{}
	}
	d.Device.Conv(dst, src, w, m)
}

type firstImageOnly struct{ compute.Device }

func (d firstImageOnly) Conv(dst, src tensor, w compute.Weights, m compute.ConvMode) {
	for n := range dst.N {
		one := m
		if m.Add.Buf != nil {
			one.Add = m.Add.Images(n, n+1)
		}
		d.Device.Conv(dst.Images(n, n+1), src.Images(0, 1), w, one)
	}
}

type resampleStores struct{ compute.Device }

func (d resampleStores) Resample(dst, src tensor, k compute.Resampling, scale float32, _ bool) {
	d.Device.Resample(dst, src, k, scale, false)
}

type resampleUnscaled struct{ compute.Device }

func (d resampleUnscaled) Resample(dst, src tensor, k compute.Resampling, _ float32, acc bool) {
	d.Device.Resample(dst, src, k, 1, acc)
}

type zeroInsertRepeats struct{ compute.Device }

func (d zeroInsertRepeats) Resample(dst, src tensor, k compute.Resampling, scale float32, acc bool) {
	if k == compute.ZeroInsert2 {
		k = compute.Up2
	}
	d.Device.Resample(dst, src, k, scale, acc)
}

type separableStores struct{ compute.Device }

func (d separableStores) Separable(dst, src, l, r tensor, _ bool) {
	d.Device.Separable(dst, src, l, r, false)
}

type wrongBorder struct{ compute.Device }

func (d wrongBorder) Correlate(dst, src, k tensor, _ compute.Border, adjoint bool) {
	d.Device.Correlate(dst, src, k, compute.Circular, adjoint)
}

type selfAdjointBlur struct{ compute.Device }

func (d selfAdjointBlur) Correlate(dst, src, k tensor, border compute.Border, _ bool) {
	d.Device.Correlate(dst, src, k, border, false)
}

type siluOverflows struct{ compute.Device }

func (d siluOverflows) Map(dst tensor, m compute.Map, src ...tensor) {
	if m != compute.SiLU() {
		d.Device.Map(dst, m, src...)
		return
	}
	v, _ := compute.ToHost(d.Device, src[0])
	out := make([]float32, dst.N*dst.Len())
	for i := range out {
		x := v[i%len(v)]
		e := float32(math.Exp(float64(x)))
		out[i] = x * e / (1 + e)
	}
	d.Write(dst, out)
}

type writesSource struct{ compute.Device }

func (d writesSource) Map(dst tensor, m compute.Map, src ...tensor) {
	d.Device.Map(dst, m, src...)
	d.Device.Map(src[0], compute.Clamp(-1, 1), src[0])
}

type firstPrimalOnly struct{ compute.Device }

func (d firstPrimalOnly) Map(dst tensor, m compute.Map, src ...tensor) {
	src[0] = src[0].Images(0, 1)
	d.Device.Map(dst, m, src...)
}

func (d firstPrimalOnly) AttentionAdjoint(dx, x, dy tensor, h compute.Heads, acc bool) {
	d.Device.AttentionAdjoint(dx, x.Images(0, 1), dy, h, acc)
}

type adjointStores struct{ compute.Device }

func (d adjointStores) Map(dst tensor, m compute.Map, src ...tensor) {
	m.Accumulate = false
	d.Device.Map(dst, m, src...)
}
func (d adjointStores) GroupNormAdjoint(dx, x, stats, dy tensor, p compute.Norm, _ bool) {
	d.Device.GroupNormAdjoint(dx, x, stats, dy, p, false)
}
func (d adjointStores) AttentionAdjoint(dx, x, dy tensor, h compute.Heads, _ bool) {
	d.Device.AttentionAdjoint(dx, x, dy, h, false)
}

// jetOfOne takes b for a.
type jetOfOne struct{ compute.Device }

func (d jetOfOne) Map(dst tensor, m compute.Map, src ...tensor) {
	if m.Order == 2 {
		src[2] = src[1]
	}
	d.Device.Map(dst, m, src...)
}
func (d jetOfOne) GroupNormSecond(dst, x, stats, a, _, ab tensor, p compute.Norm) {
	d.Device.GroupNormSecond(dst, x, stats, a, a, ab, p)
}
func (d jetOfOne) AttentionSecond(dst, x, a, _, ab tensor, h compute.Heads) {
	d.Device.AttentionSecond(dst, x, a, a, ab, h)
}

// flatJet forgets the curvature: Second is Tangent of ab.
type flatJet struct{ compute.Device }

func (d flatJet) Map(dst tensor, m compute.Map, src ...tensor) {
	if m.Order == 2 {
		m, src = m.Tangent(), []tensor{src[0], src[3]}
	}
	d.Device.Map(dst, m, src...)
}
func (d flatJet) GroupNormSecond(dst, x, stats, _, _, ab tensor, p compute.Norm) {
	d.Device.GroupNormTangent(dst, x, stats, ab, p)
}
func (d flatJet) AttentionSecond(dst, x, _, _, ab tensor, h compute.Heads) {
	d.Device.AttentionTangent(dst, x, ab, h)
}

// unstableVariance is E[x²] − E[x]² in float32.
type unstableVariance struct{ compute.Device }

func (d unstableVariance) GroupNorm(dst, x, stats tensor, p compute.Norm) {
	d.Device.GroupNorm(dst, x, stats, p)
	values, _ := compute.ToHost(d.Device, x)
	s, _ := compute.ToHost(d.Device, stats)
	per := x.Len() / p.Groups
	for n := range x.N {
		for g := range p.Groups {
			var sum, squares float32
			for _, v := range values[n*x.Len()+g*per:][:per] {
				sum += v
				squares += v * v
			}
			mean := sum / float32(per)
			s[(2*n+1)*p.Groups+g] = float32(1 / math.Sqrt(math.Abs(float64(squares/float32(per)-mean*mean))+float64(p.Eps)))
		}
	}
	d.Write(stats, s)
}

type otherEps struct{ compute.Device }

func (d otherEps) GroupNorm(dst, x, stats tensor, p compute.Norm) {
	p.Eps = 1e-6
	d.Device.GroupNorm(dst, x, stats, p)
}

type otherHeadOrder struct{ compute.Device }

func (d otherHeadOrder) Attention(dst, x tensor, h compute.Heads) {
	h.Split = false
	d.Device.Attention(dst, x, h)
}

type oneCoefficient struct{ compute.Device }

func (d oneCoefficient) Combine(dst tensor, terms ...compute.Term) {
	for i := range terms {
		terms[i].Coef = terms[i].Coef[:1]
	}
	d.Device.Combine(dst, terms...)
}

type fiveTerms struct{ compute.Device }

func (d fiveTerms) Combine(dst tensor, terms ...compute.Term) {
	d.Device.Combine(dst, terms[:min(5, len(terms))]...)
}

type combineClears struct{ compute.Device }

func (d combineClears) Combine(dst tensor, terms ...compute.Term) {
	d.Write(dst, make([]float32, dst.N*dst.Len()))
	d.Device.Combine(dst, terms...)
}

// repeatsFirst reads image 0 for n mod N.
type repeatsFirst struct{ compute.Device }

func (d repeatsFirst) Mul(dst, a, b tensor) { d.Device.Mul(dst, a, b.Images(0, 1)) }
func (d repeatsFirst) AddChannel(dst, x, e tensor) {
	d.Device.AddChannel(dst, x, e.Images(0, 1))
}

type openClamp struct{ compute.Device }

func (d openClamp) Map(dst tensor, m compute.Map, src ...tensor) {
	if m.Func == compute.MapClamp && m.Order == 1 {
		m.P[0] = math.Nextafter32(m.P[0], m.P[1])
	}
	d.Device.Map(dst, m, src...)
}

type noShift struct{ compute.Device }

func (d noShift) Map(dst tensor, m compute.Map, src ...tensor) {
	m.P[1] = 0
	d.Device.Map(dst, m, src...)
}

type narrowDot struct{ compute.Device }

func (d narrowDot) Dots(pairs ...[2]tensor) (out [][]float64, err error) {
	for _, p := range pairs {
		dots := make([]float64, max(p[0].N, p[1].N))
		va, _ := compute.ToHost(d.Device, p[0])
		vb, err := compute.ToHost(d.Device, p[1])
		if err != nil {
			return nil, err
		}
		for n := range dots {
			var sum float32
			for i := range p[0].Len() {
				sum += va[(n%p[0].N)*p[0].Len()+i] * vb[(n%p[1].N)*p[1].Len()+i]
			}
			dots[n] = float64(sum)
		}
		out = append(out, dots)
	}
	return out, nil
}

// firstPair gives every pair the inner products of the first.
type firstPair struct{ compute.Device }

func (d firstPair) Dots(pairs ...[2]tensor) ([][]float64, error) {
	out, err := d.Device.Dots(pairs...)
	for k := range out {
		out[k] = out[0]
	}
	return out, err
}

type denseReads struct{ compute.Device }

func (d denseReads) Read(dst []float32, t tensor) error {
	t.Pitch = t.Len()
	return d.Device.Read(dst, t)
}

type flushesInfinity struct{ compute.Device }

func (d flushesInfinity) Write(t tensor, v []float32) {
	for i, x := range v {
		if math.IsInf(float64(x), 0) {
			v[i] = 0
		}
	}
	d.Device.Write(t, v)
}

func TestSuiteCatchesMistakes(t *testing.T) {
	d := cpu.New(1)
	defer d.Close()
	for _, m := range []struct {
		name   string
		groups []string
		broken compute.Device
	}{
		{"conv without bias", []string{"conv"}, noBias{d}},
		{"adjoint is not the transpose", []string{"conv-adjoint", "conv-identity"}, stretchedAdjoint{d}},
		{"conv without Add", []string{"conv", "conv-adjoint"}, noAddOther{d}},
		{"conv without adding to itself", []string{"conv", "conv-adjoint"}, noAddSelf{d}},
		{"conv of the first image alone", []string{"conv", "conv-adjoint", "conv-identity"}, firstImageOnly{d}},
		{"resampling ignores accumulate", []string{"resample"}, resampleStores{d}},
		{"resampling ignores scale", []string{"resample", "resample-adjoint"}, resampleUnscaled{d}},
		{"zero insertion repeats", []string{"resample", "resample-identity"}, zeroInsertRepeats{d}},
		{"separable ignores accumulate", []string{"separable"}, separableStores{d}},
		{"reflection is circular", []string{"correlate", "correlate-adjoint"}, wrongBorder{d}},
		{"correlation's adjoint is itself", []string{"correlate-adjoint", "correlate-identity"}, selfAdjointBlur{d}},
		{"SiLU overflows", []string{"silu"}, siluOverflows{d}},
		{"a kernel changes its source", []string{"silu"}, writesSource{d}},
		{"directions of the first primal image alone", []string{"silu-tangent", "attention-adjoint", "attention-identity"}, firstPrimalOnly{d}},
		{"adjoints ignore accumulate", []string{"silu-adjoint", "groupnorm-adjoint", "attention-adjoint"}, adjointStores{d}},
		{"Second takes a for b", []string{"silu-second", "groupnorm-second", "attention-second"}, jetOfOne{d}},
		{"Second without curvature", []string{"silu-second", "groupnorm-second", "attention-second"}, flatJet{d}},
		{"cancelling variance", []string{"groupnorm", "groupnorm-tangent"}, unstableVariance{d}},
		{"another eps", []string{"groupnorm"}, otherEps{d}},
		{"another channel order", []string{"attention"}, otherHeadOrder{d}},
		{"one coefficient for all images", []string{"combine"}, oneCoefficient{d}},
		{"the sixth term is lost", []string{"combine"}, fiveTerms{d}},
		{"the destination is cleared first", []string{"combine"}, combineClears{d}},
		{"the first image is repeated", []string{"mul", "addchannel"}, repeatsFirst{d}},
		{"the clamp's bound is outside", []string{"clamp-tangent"}, openClamp{d}},
		{"shift is ignored", []string{"exp", "pow"}, noShift{d}},
		{"inner products in float32", []string{"dot"}, narrowDot{d}},
		{"the first pair's inner products for all", []string{"dot"}, firstPair{d}},
		{"reads ignore the pitch", []string{"memory", "conv"}, denseReads{d}},
		{"infinity is flushed", []string{"memory"}, flushesInfinity{d}},
	} {
		for _, group := range m.groups {
			t.Run(m.name+"/"+group, func(t *testing.T) { caught(t, m.broken, group) })
		}
		require.NoError(t, d.Sync(), "%s should be wrong, not refused", m.name)
	}
}

// Devices that mishandle failures.

type syncForgets struct{ compute.Device }

func (syncForgets) Sync() error { return nil }

type readSilent struct{ compute.Device }

func (d readSilent) Read(dst []float32, t tensor) error {
	if d.Device.Read(dst, t) != nil {
		clear(dst)
	}
	return nil
}

type panicky struct{ compute.Device }

func (d panicky) Combine(dst tensor, terms ...compute.Term) {
	_ = terms[0]
	d.Device.Combine(dst, terms...)
}

func TestSuiteCatchesMishandledErrors(t *testing.T) {
	for name, wrap := range map[string]func(compute.Device) compute.Device{
		"Sync forgets":        func(d compute.Device) compute.Device { return syncForgets{d} },
		"Read says nothing":   func(d compute.Device) compute.Device { return readSilent{d} },
		"a wrong call panics": func(d compute.Device) compute.Device { return panicky{d} },
	} {
		cases := computetest.Errors(func() (compute.Device, error) { return wrap(cpu.New(1)), nil })
		_, failed, _ := computetest.Run(t.Context(), nil, cases, nil)
		assert.NotZero(t, failed, name)
	}
}
