package compute

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Guard checks the arguments of a device's methods, by one set of rules and with the
// same messages for all devices, and stores the first failure, after which every call
// is refused. A device embeds it and each of its methods begins with a check:
//
//	if !d.MulFits(dst, a, b) {
//		return
//	}
//
// The rules are those of the [Device] interface; a tensor that passes lies inside an
// array of the device. Each check returns whether the call may go on; if not, it has
// stored the reason.
type Guard struct {
	name string
	owns func(Buffer) bool
	err  error
	busy *atomic.Bool
}

// ErrBusy is the error of a computation on a device that another goroutine computes on.
var ErrBusy = errors.New("the device is used by two goroutines at once: give each goroutine a device of its own")

// Enter marks the device as in use until Leave, by a computation of several calls whose
// results must not mix with another one's: [ErrBusy] while it is in use.
func (g *Guard) Enter() error {
	if !g.busy.CompareAndSwap(false, true) {
		return ErrBusy
	}
	return nil
}

// Leave ends what Enter began.
func (g *Guard) Leave() { g.busy.Store(false) }

// NewGuard returns a guard whose messages begin with name. owns reports whether an
// array belongs to the device and has not been freed.
func NewGuard(name string, owns func(Buffer) bool) Guard {
	return Guard{name: name, owns: owns, busy: new(atomic.Bool)}
}

// Err returns the first failure, or nil.
func (g *Guard) Err() error { return g.err }

// Fail stores err, with the device's name before it, if it is the first failure.
func (g *Guard) Fail(err error) {
	if g.err == nil && err != nil {
		g.err = fmt.Errorf("%s: %w", g.name, err)
	}
}

// refuse stores a failure of the operation op if it is the first, and returns false.
func (g *Guard) refuse(op, format string, args ...any) bool {
	g.Fail(fmt.Errorf(op+": "+format, args...))
	return false
}

// views checks that every tensor lies inside an array of the device.
func (g *Guard) views(op string, ts ...Tensor) bool {
	if g.err != nil {
		return false
	}
	for _, t := range ts {
		if m, ok := t.Buf.(missing); ok {
			return g.refuse(op, "%w", m.reason)
		}
		if t.Buf == nil || !g.owns(t.Buf) {
			return g.refuse(op, "tensor %v of another device, or freed (%T)", t, t.Buf)
		}
		inside := min(t.N, t.C, t.H, t.W) > 0 && min(t.Off, t.Pitch) >= 0 && t.Off+(t.N-1)*t.Pitch+t.Len() <= t.Buf.Len()
		if !inside {
			return g.refuse(op, "tensor %v (offset %d, pitch %d) outside its array of %d values", t, t.Off, t.Pitch, t.Buf.Len())
		}
	}
	return true
}

// same checks that all tensors lie inside arrays of the device, that the sources ts
// have dst's C×H×W, and that their numbers of images divide dst's.
func (g *Guard) same(op string, dst Tensor, ts ...Tensor) bool {
	return g.views(op, dst) && g.views(op, ts...) && g.like(op, dst, ts...)
}

func (g *Guard) like(op string, dst Tensor, ts ...Tensor) bool {
	for _, t := range ts {
		if t.C != dst.C || t.H != dst.H || t.W != dst.W || dst.N%t.N != 0 {
			return g.refuse(op, "tensor %v does not fit destination %v", t, dst)
		}
	}
	return true
}

// AllocFits checks the size of an array in float32 values; most is the largest that
// the device can allocate.
func (g *Guard) AllocFits(floats, most int) error {
	if floats < 0 || floats > most {
		return fmt.Errorf("%s: array of %d values: 0 to %d are possible", g.name, floats, most)
	}
	return nil
}

// WriteFits is for [Memory.Write].
func (g *Guard) WriteFits(dst Tensor, src []float32) bool {
	return g.views("write", dst) && (len(src) == dst.N*dst.Len() || g.refuse("write", "%d values for %v", len(src), dst))
}

// ReadFits is for [Memory.Read].
func (g *Guard) ReadFits(dst []float32, src Tensor) bool {
	return g.views("read", src) && (len(dst) == src.N*src.Len() || g.refuse("read", "%d values for %v", len(dst), src))
}

// PrepareConvFits is for [Linear.PrepareConv].
func (g *Guard) PrepareConvFits(shape ConvShape, weight, bias []float32) error {
	taps := shape.Kernel * shape.Kernel
	if min(shape.Out, shape.In) < 1 || (taps != 1 && taps != 9) {
		return fmt.Errorf("%s: convolution %+v: want channels above 0 and kernel 1 or 3", g.name, shape)
	}
	if want := shape.Out * shape.In * taps; len(weight) != want {
		return fmt.Errorf("%s: convolution %+v has %d weights, got %d", g.name, shape, want, len(weight))
	}
	if bias != nil && len(bias) != shape.Out {
		return fmt.Errorf("%s: convolution %+v has %d biases, got %d", g.name, shape, shape.Out, len(bias))
	}
	return nil
}

// ConvFits is for [Linear.Conv]; owned reports whether the device prepared the weights.
func (g *Guard) ConvFits(dst, src Tensor, w Weights, owned bool, mode ConvMode) bool {
	if !(owned || g.refuse("conv", "weights of another device (%T)", w)) || !g.views("conv", dst, src) {
		return false
	}
	in, out := w.Shape().In, w.Shape().Out
	if mode.Adjoint {
		in, out = out, in
	}
	fits := src.C == in && dst.C == out && src.N == dst.N && src.H == dst.H && src.W == dst.W
	return (fits || g.refuse("conv", "%+v (adjoint %v) of %v into %v", w.Shape(), mode.Adjoint, src, dst)) &&
		(mode.Add.Buf == nil || g.same("conv, the tensor to add", dst, mode.Add))
}

// ResampleFits is for [Linear.Resample].
func (g *Guard) ResampleFits(dst, src Tensor, kind Resampling) bool {
	small, large := src, dst
	if kind == SumDown2 || kind == Subsample2 {
		small, large = dst, src
	}
	fits := kind >= Up2 && kind <= ZeroInsert2 && src.N == dst.N && src.C == dst.C &&
		large.H == 2*small.H && large.W == 2*small.W
	return g.views("resample", dst, src) && (fits || g.refuse("resample", "kind %d of %v into %v", kind, src, dst))
}

// SeparableFits is for [Linear.Separable].
func (g *Guard) SeparableFits(dst, src, l, r Tensor) bool {
	fits := src.N == dst.N && src.C == dst.C && l.N*l.C == 1 && r.N*r.C == 1 &&
		l.H == dst.H && l.W == src.H && r.H == dst.W && r.W == src.W
	return g.views("separable", dst, src, l, r) && (fits || g.refuse("separable", "%v · %v · (%v)ᵀ into %v", l, src, r, dst))
}

// CorrelateFits is for [Linear.Correlate].
func (g *Guard) CorrelateFits(dst, src, kernel Tensor, border Border) bool {
	const op = "correlate"
	kh, kw := kernel.H, kernel.W
	fits := dst.Shape() == src.Shape() && kernel.N*kernel.C == 1 && kh%2 == 1 && kw%2 == 1 && (border == Reflect || border == Circular)
	return g.views(op, dst, src, kernel) &&
		(fits || g.refuse(op, "kernel %v (odd sizes), border %d, of %v into %v", kernel, border, src, dst)) &&
		(border == Circular || src.H > kh/2 && src.W > kw/2 || g.refuse(op, "reflection by a kernel %v needs a larger image than %v", kernel, src))
}

// NormFits is for [Nonlinear.GroupNorm] and its derivatives; coefficients are the
// tangents, cotangents and second coefficients, none for the value.
func (g *Guard) NormFits(dst, x, stats Tensor, p Norm, coefficients ...Tensor) bool {
	const op = "norm"
	if !g.same(op, dst, x) || !g.same(op, dst, coefficients...) || !g.views(op, stats, p.Gamma, p.Beta) {
		return false
	}
	if len(coefficients) == 0 && dst.N != x.N {
		return g.refuse(op, "%v into %v", x, dst)
	}
	if p.Groups <= 0 || x.C%p.Groups != 0 || stats.N != x.N || stats.Len() != 2*p.Groups {
		return g.refuse(op, "%d groups and stats %v for %v", p.Groups, stats, x)
	}
	if p.Gamma.Len() != x.C || p.Beta.Len() != x.C {
		return g.refuse(op, "gamma %v and beta %v for %v", p.Gamma, p.Beta, x)
	}
	if p.Scale.Buf == nil && p.Shift.Buf == nil {
		return true
	}
	fits := p.Scale.Len() == x.C && p.Shift.Len() == x.C
	return g.views(op, p.Scale, p.Shift) &&
		(fits && x.N%p.Scale.N == 0 && x.N%p.Shift.N == 0 || g.refuse(op, "scale %v and shift %v for %v", p.Scale, p.Shift, x))
}

// AttentionFits is for [Nonlinear.Attention] and its tangent and second
// coefficient, which are coefficients.
func (g *Guard) AttentionFits(dst, x Tensor, h Heads, coefficients ...Tensor) bool {
	const op = "attention"
	if !g.views(op, dst, x) || !g.views(op, coefficients...) || !g.headsFit(op, dst, x, h) {
		return false
	}
	if len(coefficients) == 0 && dst.N != x.N {
		return g.refuse(op, "%v into %v", x, dst)
	}
	wide := x
	wide.N = dst.N
	return g.like(op, wide, x) && g.like(op, wide, coefficients...)
}

// AttentionAdjointFits is for [Nonlinear.AttentionAdjoint].
func (g *Guard) AttentionAdjointFits(dx, x, dy Tensor, h Heads) bool {
	const op = "attention adjoint"
	return g.views(op, dy) && g.same(op, dx, x) && g.headsFit(op, dy, x, h) && (dy.N == dx.N || g.refuse(op, "%v into %v", dy, dx))
}

func (g *Guard) headsFit(op string, out, x Tensor, h Heads) bool {
	fits := h.Count > 0 && x.C%(3*max(1, h.Count)) == 0 && x.C == 3*out.C && x.H == out.H && x.W == out.W && out.N%x.N == 0
	return fits || g.refuse(op, "%d heads of %v into %v", h.Count, x, out)
}

// CombineFits is for [Pointwise.Combine].
func (g *Guard) CombineFits(dst Tensor, terms []Term) bool {
	const op = "combine"
	if len(terms) < 1 || len(terms) > 6 {
		return g.refuse(op, "%d terms, want 1 to 6", len(terms))
	}
	for _, t := range terms {
		if !g.same(op, dst, t.X) {
			return false
		}
		if len(t.Coef) != 1 && len(t.Coef) != dst.N {
			return g.refuse(op, "%d coefficients for %v", len(t.Coef), dst)
		}
	}
	return true
}

// AddChannelFits is for [Pointwise.AddChannel].
func (g *Guard) AddChannelFits(dst, x, e Tensor) bool {
	const op = "add channel"
	return g.same(op, dst, x) && g.views(op, e) && (e.C == dst.C && e.H*e.W == 1 && dst.N%e.N == 0 || g.refuse(op, "%v for %v", e, dst))
}

// MulFits is for [Pointwise.Mul].
func (g *Guard) MulFits(dst, a, b Tensor) bool {
	const op = "mul"
	return g.same(op, dst, a) && g.views(op, b) &&
		((b.C == 1 || b.C == dst.C) && b.H == dst.H && b.W == dst.W && dst.N%b.N == 0 || g.refuse(op, "%v for %v", b, dst))
}

// MapFits is for [Pointwise.Map].
func (g *Guard) MapFits(dst Tensor, m Map, sources []Tensor) bool {
	if !m.valid() {
		return g.refuse("map", "no function %d with a derivative of order %d (accumulate %v)", m.Func, m.Order, m.Accumulate)
	}
	if len(sources) != m.sources() {
		return g.refuse(m.Kernel(), "%d sources, want %d", len(sources), m.sources())
	}
	return g.same(m.Kernel(), dst, sources...)
}

// NormalsFits is for [Drawer.Normals].
func (g *Guard) NormalsFits(dst Tensor, first []PhiloxBlock) bool {
	return g.views("normals", dst) && (len(first) == dst.N || g.refuse("normals", "%d blocks to start at for %v", len(first), dst))
}

// DotsFit is for [Pointwise.Dots].
func (g *Guard) DotsFit(pairs [][2]Tensor) bool {
	for _, p := range pairs {
		if big := Larger(p); !g.same("dot", big, p[0], p[1]) {
			return false
		}
	}
	return g.err == nil
}

// Larger returns the tensor of a pair that has more images: as many as the pair has inner products.
func Larger(pair [2]Tensor) Tensor {
	if pair[1].N > pair[0].N {
		return pair[1]
	}
	return pair[0]
}
