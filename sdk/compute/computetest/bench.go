package computetest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// layout is how a tensor lies in its device array.
type layout int

const (
	dense    layout = iota // the array holds nothing else
	channels               // a range of channels of a larger tensor
	padded                 // odd offset and pitch
	arena                  // all tensors of the case in one array
	mixed                  // each tensor has another of the first three
)

func (l layout) String() string {
	return [...]string{"dense", "channels", "padded", "arena", "mixed"}[l]
}

// layouts in the order in which tables cycle through them.
var layouts = []layout{channels, dense, mixed, padded, arena}

// arenaFloats is the size of the shared array; tensors that do not fit in have
// their own.
const arenaFloats = 1 << 16

// bench is the work bench of one case: its tensors with what must stand around
// them, and the first error.
type bench struct {
	dev    compute.Device
	rng    *rand.Rand
	arrays []*array
	shared *array // for the arena layout
	placed int
	err    error
}

// abort ends a case whose error is already kept.
type abort struct{}

// array is one device array: what the host believes it holds. Words inside a
// destination are free to change.
type array struct {
	whole  compute.Tensor
	shadow []float32
	free   []bool
	used   int
}

func newBench(dev compute.Device, name string) *bench {
	return &bench{dev: dev, rng: rand.New(rand.NewPCG(seedOf(name), 1))}
}

// normal draws standard normal values.
func (b *bench) normal(n, c, h, w int) Array { return normal(b.rng, 1, 0, n, c, h, w) }

// try runs a case's body, which may abort.
func (b *bench) try(body func(*bench) float64) (relative float64, err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(abort); !ok {
				panic(p)
			}
			err = b.err
		}
	}()
	relative = body(b)
	return relative, b.err
}

// fail keeps the first error.
func (b *bench) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// guard returns the word at index i outside of all tensors: NaN spoils what is
// computed from it, a number shows where a NaN was written.
func guard(i int) float32 {
	if i%2 == 0 {
		return float32(math.NaN())
	}
	return float32(1<<22 + i)
}

// alloc makes an array full of guard words.
func (b *bench) alloc(floats int) *array {
	buf, err := b.dev.Alloc(floats)
	if err != nil {
		b.fail(fmt.Errorf("array of %d values: %w", floats, err))
		panic(abort{})
	}
	a := &array{compute.Dense(buf, 1, 1, 1, floats), make([]float32, floats), make([]bool, floats), 0}
	for i := range a.shadow {
		a.shadow[i] = guard(i)
	}
	b.dev.Write(a.whole, a.shadow)
	b.arrays = append(b.arrays, a)
	return a
}

// place makes a tensor of the given layout and says in which array it lies.
func (b *bench) place(l layout, n, c, h, w int) (compute.Tensor, *array) {
	b.placed++
	if l == mixed {
		l = [...]layout{channels, padded, dense}[b.placed%3]
	}
	t := compute.Tensor{N: n, C: c, H: h, W: w, Pitch: c * h * w}
	switch l {
	case channels:
		t.Off, t.Pitch = 2*h*w, (c+3)*h*w
	case padded:
		t.Off, t.Pitch = 5, t.Pitch+3
	case arena:
		t.Off = 7
	}
	size := t.Off + n*t.Pitch
	if l != dense {
		size += 9
	}
	if l == arena && b.shared == nil {
		b.shared = b.alloc(arenaFloats)
	}
	a := b.shared
	if l != arena || a.used+size > arenaFloats {
		a = b.alloc(size)
	}
	t.Buf, t.Off = a.whole.Buf, t.Off+a.used
	a.used += size
	return t, a
}

// source puts an array on the device as something that no kernel may change.
func (b *bench) source(l layout, v Array) compute.Tensor {
	t, a := b.place(l, v.N, v.C, v.H, v.W)
	b.store(t, a, v, false)
	return t
}

// target makes a destination that holds the given values.
func (b *bench) target(l layout, old Array) compute.Tensor {
	t, a := b.place(l, old.N, old.C, old.H, old.W)
	b.store(t, a, old, true)
	return t
}

// poisoned makes a destination full of NaN.
func (b *bench) poisoned(l layout, n, c, h, w int) compute.Tensor {
	return b.target(l, NewArray(n, c, h, w).Map(func(float64) float64 { return math.NaN() }))
}

func (b *bench) store(t compute.Tensor, a *array, v Array, free bool) {
	host := v.Float32()
	for n := range t.N {
		for i := range t.Len() {
			at := t.Off + n*t.Pitch + i
			a.shadow[at], a.free[at] = host[n*t.Len()+i], free
		}
	}
	b.dev.Write(t, host)
}

// read returns the values of a tensor now.
func (b *bench) read(t compute.Tensor) Array {
	v, err := compute.ToHost(b.dev, t)
	if err != nil {
		b.fail(err)
	}
	return FromFloat32(v, t.N, t.C, t.H, t.W)
}

// errorOf compares a tensor with its reference.
func (b *bench) errorOf(t compute.Tensor, ref Array) float64 {
	return RelativeError(b.read(t).V, ref.V)
}

// certain fails the case where differences did not give the reference exactly
// enough to judge a device by it; ref is passed on.
func (b *bench) certain(ref Array, uncertainty float64) Array {
	if !(uncertainty <= 1e-7) {
		b.fail(fmt.Errorf("the oracle's differences are uncertain by %.1e; choose another step", uncertainty))
	}
	return ref
}

// intact checks that every word outside the destinations is as it was.
func (b *bench) intact() {
	for _, a := range b.arrays {
		now := make([]float32, len(a.shadow))
		if err := b.dev.Read(now, a.whole); err != nil {
			b.fail(err)
			return
		}
		for i, was := range a.shadow {
			same := now[i] == was || now[i] != now[i] && was != was
			if !same && !a.free[i] {
				b.fail(fmt.Errorf("word %d of an array of %d, outside the destination, changed from %g to %g", i, len(now), was, now[i]))
				return
			}
		}
	}
}

func (b *bench) free() {
	for _, a := range b.arrays {
		b.dev.Free(a.whole.Buf)
	}
}
