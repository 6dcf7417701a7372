package computetest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

// mutant is a device around whose kernels something goes wrong: around is given
// the kernel's group of cases and its destination, and calls run for the kernel.
type mutant struct {
	compute.Device
	around func(d compute.Device, group string, dst compute.Tensor, run func())
}

type tensor = compute.Tensor // for the lines below

func (m mutant) on(group string, dst tensor, run func()) { m.around(m.Device, group, dst, run) }

func (m mutant) Conv(dst, src tensor, w compute.Weights, mode compute.ConvMode) {
	group := "conv"
	if mode.Adjoint {
		group = "conv-adjoint"
	}
	m.on(group, dst, func() { m.Device.Conv(dst, src, w, mode) })
}
func (m mutant) Resample(dst, src tensor, kind compute.Resampling, scale float32, acc bool) {
	m.on("resample", dst, func() { m.Device.Resample(dst, src, kind, scale, acc) })
}
func (m mutant) Separable(dst, src, l, r tensor, acc bool) {
	m.on("separable", dst, func() { m.Device.Separable(dst, src, l, r, acc) })
}
func (m mutant) Correlate(dst, src, k tensor, border compute.Border, adjoint bool) {
	group := "correlate"
	if adjoint {
		group = "correlate-adjoint"
	}
	m.on(group, dst, func() { m.Device.Correlate(dst, src, k, border, adjoint) })
}
func (m mutant) GroupNorm(dst, x, stats tensor, p compute.Norm) {
	m.on("groupnorm", dst, func() { m.Device.GroupNorm(dst, x, stats, p) })
}
func (m mutant) GroupNormAdjoint(dx, x, stats, dy tensor, p compute.Norm, acc bool) {
	m.on("groupnorm-adjoint", dx, func() { m.Device.GroupNormAdjoint(dx, x, stats, dy, p, acc) })
}
func (m mutant) GroupNormTangent(dst, x, stats, a tensor, p compute.Norm) {
	m.on("groupnorm-tangent", dst, func() { m.Device.GroupNormTangent(dst, x, stats, a, p) })
}
func (m mutant) GroupNormSecond(dst, x, stats, a, b, ab tensor, p compute.Norm) {
	m.on("groupnorm-second", dst, func() { m.Device.GroupNormSecond(dst, x, stats, a, b, ab, p) })
}
func (m mutant) Attention(dst, x tensor, h compute.Heads) {
	m.on("attention", dst, func() { m.Device.Attention(dst, x, h) })
}
func (m mutant) AttentionAdjoint(dx, x, dy tensor, h compute.Heads, acc bool) {
	m.on("attention-adjoint", dx, func() { m.Device.AttentionAdjoint(dx, x, dy, h, acc) })
}
func (m mutant) AttentionTangent(dst, x, a tensor, h compute.Heads) {
	m.on("attention-tangent", dst, func() { m.Device.AttentionTangent(dst, x, a, h) })
}
func (m mutant) AttentionSecond(dst, x, a, b, ab tensor, h compute.Heads) {
	m.on("attention-second", dst, func() { m.Device.AttentionSecond(dst, x, a, b, ab, h) })
}
func (m mutant) Combine(dst tensor, terms ...compute.Term) {
	m.on("combine", dst, func() { m.Device.Combine(dst, terms...) })
}
func (m mutant) AddChannel(dst, x, e tensor) {
	m.on("addchannel", dst, func() { m.Device.AddChannel(dst, x, e) })
}
func (m mutant) Mul(dst, a, b tensor) { m.on("mul", dst, func() { m.Device.Mul(dst, a, b) }) }
func (m mutant) Map(dst tensor, f compute.Map, src ...tensor) {
	group := f.Func.String() + [...]string{"", "-tangent", "-second"}[f.Order]
	if f.Accumulate {
		group = f.Func.String() + "-adjoint"
	}
	m.on(group, dst, func() { m.Device.Map(dst, f, src...) })
}

var kernels = []string{
	"conv", "conv-adjoint", "resample", "separable", "correlate", "correlate-adjoint",
	"silu", "silu-adjoint", "silu-tangent", "silu-second",
	"groupnorm", "groupnorm-adjoint", "groupnorm-tangent", "groupnorm-second",
	"attention", "attention-adjoint", "attention-tangent", "attention-second",
	"combine", "addchannel", "mul", "clamp", "clamp-tangent", "exp", "pow",
}

// element returns the view of one value of a tensor's image.
func element(t tensor, image, i int) tensor {
	return tensor{Buf: t.Buf, Off: t.Off + image*t.Pitch + i, N: 1, C: 1, H: 1, W: 1, Pitch: 1}
}

func get(t *testing.T, d compute.Device, at tensor) float32 {
	v, err := compute.ToHost(d, at)
	require.NoError(t, err)
	return v[0]
}

// TestSuiteCatchesEveryKernel breaks one kernel at a time in ways that any
// kernel can go wrong.
func TestSuiteCatchesEveryKernel(t *testing.T) {
	faults := map[string]func(t *testing.T, d compute.Device, dst tensor, run func()){
		"one value is wrong by a thousandth": func(t *testing.T, d compute.Device, dst tensor, run func()) {
			run()
			at := element(dst, dst.N-1, dst.Len()/2)
			d.Write(at, []float32{get(t, d, at)*1.001 + 0.001})
		},
		"the last value is not written": func(t *testing.T, d compute.Device, dst tensor, run func()) {
			at := element(dst, dst.N-1, dst.Len()-1)
			old := get(t, d, at)
			run()
			d.Write(at, []float32{old})
		},
		"a word after the view is written": func(t *testing.T, d compute.Device, dst tensor, run func()) {
			run()
			if at := element(dst, dst.N-1, dst.Len()); at.Off < dst.Buf.Len() {
				d.Write(at, []float32{1})
			}
		},
		"a word before the view is written": func(t *testing.T, d compute.Device, dst tensor, run func()) {
			run()
			if at := element(dst, 0, -1); at.Off >= 0 {
				d.Write(at, []float32{1})
			}
		},
		"the kernel panics":       func(*testing.T, compute.Device, tensor, func()) { panic("index out of range") },
		"the kernel does nothing": func(*testing.T, compute.Device, tensor, func()) {},
	}
	dev := cpu.New(1)
	defer dev.Close()
	for name, fault := range faults {
		for _, kernel := range kernels {
			t.Run(name+"/"+kernel, func(t *testing.T) {
				caught(t, mutant{dev, func(d compute.Device, group string, dst tensor, run func()) {
					if group != kernel {
						run()
						return
					}
					fault(t, d, dst, run)
				}}, kernel)
			})
		}
	}
}
