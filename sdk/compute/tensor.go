package compute

import (
	"fmt"
	"math"
)

// Tensor is a view of N images of C×H×W float32 values in a device array.
// An image is dense; Pitch is the distance from one image to the next, so that
// a range of channels of a larger tensor is a Tensor too.
type Tensor struct {
	Buf        Buffer
	Off        int // of the first image, in values
	N, C, H, W int
	Pitch      int
}

// Dense returns the view of a whole array as dense NCHW images.
func Dense(b Buffer, n, c, h, w int) Tensor {
	return Tensor{Buf: b, N: n, C: c, H: h, W: w, Pitch: c * h * w}
}

// Len returns the number of values of one image.
func (t Tensor) Len() int { return t.C * t.H * t.W }

// Images returns the view of images [from, to).
func (t Tensor) Images(from, to int) Tensor {
	t.Off += from * t.Pitch
	t.N = to - from
	return t
}

// Channels returns the view of channels [from, to) of every image.
func (t Tensor) Channels(from, to int) Tensor {
	t.Off += from * t.H * t.W
	t.C = to - from
	return t
}

// Reshape views each dense image with another shape of the same length.
func (t Tensor) Reshape(c, h, w int) Tensor {
	if c*h*w != t.Len() {
		panic(fmt.Sprintf("compute: reshape of %v to %d×%d×%d", t, c, h, w))
	}
	t.C, t.H, t.W = c, h, w
	return t
}

// Shape is [N C H W].
func (t Tensor) Shape() [4]int { return [4]int{t.N, t.C, t.H, t.W} }

// String shows the shape: 2×3×64×64.
func (t Tensor) String() string { return fmt.Sprintf("%d×%d×%d×%d", t.N, t.C, t.H, t.W) }

// New allocates a dense tensor. Release it with Device.Free(t.Buf).
func New(d Device, n, c, h, w int) (Tensor, error) {
	b, err := d.Alloc(n * c * h * w)
	if err != nil {
		return Tensor{}, fmt.Errorf("tensor %d×%d×%d×%d: %w", n, c, h, w, err)
	}
	return Dense(b, n, c, h, w), nil
}

// FromHost allocates a dense tensor with the given values.
func FromHost(d Device, values []float32, n, c, h, w int) (Tensor, error) {
	if len(values) != n*c*h*w {
		return Tensor{}, fmt.Errorf("tensor %d×%d×%d×%d needs %d values, got %d", n, c, h, w, n*c*h*w, len(values))
	}
	t, err := New(d, n, c, h, w)
	if err == nil {
		d.Write(t, values)
	}
	return t, err
}

// ToHost reads a tensor into a new slice, dense NCHW.
func ToHost(d Device, t Tensor) ([]float32, error) {
	out := make([]float32, t.N*t.Len())
	if err := d.Read(out, t); err != nil {
		return nil, err
	}
	return out, nil
}

// Dot waits and returns ⟨a, b⟩ of each image.
func Dot(d Device, a, b Tensor) ([]float64, error) {
	dots, err := d.Dots([2]Tensor{a, b})
	if err != nil {
		return nil, err
	}
	return dots[0], nil
}

// Norms waits and returns ‖t‖₂ of each image.
func Norms(d Device, t Tensor) ([]float64, error) {
	norms, err := NormsOf(d, t)
	if err != nil {
		return nil, err
	}
	return norms[0], nil
}

// NormsOf waits once and returns ‖t‖₂ of each image for every tensor: [tensor][image].
func NormsOf(d Device, ts ...Tensor) ([][]float64, error) {
	pairs := make([][2]Tensor, len(ts))
	for i, t := range ts {
		pairs[i] = [2]Tensor{t, t}
	}
	norms, err := d.Dots(pairs...)
	for _, squares := range norms {
		for i, square := range squares {
			squares[i] = math.Sqrt(square)
		}
	}
	return norms, err
}

// Workspace allocates a computation's tensors together and frees them together.
// After a failed allocation it hands out tensors without memory: check Err once, when
// all are made. A device that is given one fails with the reason.
type Workspace struct {
	dev     Device
	all     []Buffer
	scratch map[scratchKey]Tensor
	err     error
}

// scratchKey names a tensor of [Workspace.Scratch].
type scratchKey struct {
	name  string
	shape [4]int
}

// NewWorkspace returns an empty workspace on a device.
func NewWorkspace(d Device) *Workspace {
	return &Workspace{dev: d, scratch: map[scratchKey]Tensor{}}
}

// Device returns the device that the workspace allocates on.
func (w *Workspace) Device() Device { return w.dev }

// New is [New], the error kept for Err.
func (w *Workspace) New(n, c, h, wd int) Tensor {
	t, err := New(w.dev, n, c, h, wd)
	return w.keep(t, err)
}

// Like returns a new dense tensor of t's shape.
func (w *Workspace) Like(t Tensor) Tensor { return w.New(t.N, t.C, t.H, t.W) }

// Scratch returns the dense tensor of that name and shape. The first call allocates it;
// later calls return the same tensor, so that a run allocates in its first step only.
func (w *Workspace) Scratch(name string, n, c, h, wd int) Tensor {
	key := scratchKey{name, [4]int{n, c, h, wd}}
	t, ok := w.scratch[key]
	if !ok {
		if t = w.New(n, c, h, wd); w.err == nil {
			w.scratch[key] = t
		}
	}
	return t
}

// ScratchLike is Scratch of t's shape.
func (w *Workspace) ScratchLike(name string, t Tensor) Tensor {
	return w.Scratch(name, t.N, t.C, t.H, t.W)
}

// FromHost is [FromHost], the error kept for Err.
func (w *Workspace) FromHost(values []float32, n, c, h, wd int) Tensor {
	t, err := FromHost(w.dev, values, n, c, h, wd)
	return w.keep(t, err)
}

func (w *Workspace) keep(t Tensor, err error) Tensor {
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return Tensor{Buf: missing{err}}
	}
	w.all = append(w.all, t.Buf)
	return t
}

// missing stands for an array that could not be allocated, with the reason.
type missing struct{ reason error }

// Len implements [Buffer].
func (missing) Len() int { return 0 }

// Err returns the first failed allocation.
func (w *Workspace) Err() error { return w.err }

// Free releases every tensor made here.
func (w *Workspace) Free() {
	for _, b := range w.all {
		w.dev.Free(b)
	}
	w.all = nil
	clear(w.scratch)
}
