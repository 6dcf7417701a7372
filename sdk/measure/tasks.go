package measure

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Task is a named inverse problem.
type Task struct {
	Name, Description string
	// Input is what the operator is made from beside the size of the images: "mask",
	// "kernel", "operator" (a matrix) or "".
	Input string
	// NoPicture says that the measurement has no values of black and white.
	NoPicture bool
	// Draw draws the input of a task for images of h×w, nil where the caller gives it.
	Draw func(h, w int, rng *rand.Rand) (Inputs, error)
	// New makes the operator for c×h×w images from its input.
	New func(dev compute.Device, c, h, w int, in Inputs) (Operator, error)
}

// Inputs are what an operator is made from beside the size of the images. A task uses
// what it needs.
type Inputs struct {
	Rand   *rand.Rand     // draws what is not given
	Mask   []float32      // h·w values, 1 known and 0 missing
	Kernel *Kernel        // of a blur
	Matrix *Matrix        // the operator itself
	Border compute.Border // how the image goes on beyond its edge under Kernel
}

// Complete returns the inputs of a task for images of h×w: the given ones, or drawn ones.
func (t Task) Complete(h, w int, in Inputs) (Inputs, error) {
	switch {
	case t.Input == "", t.Input == "mask" && in.Mask != nil, t.Input == "kernel" && in.Kernel != nil, t.Input == "operator" && in.Matrix != nil:
		return in, nil
	case t.Draw == nil:
		return in, fmt.Errorf("it needs its %s", t.Input)
	}
	return t.Draw(h, w, in.Rand)
}

// Tasks are the papers' tasks and those of a mask or a kernel of the caller's. Sizes
// follow the image: at 256 pixels the box is 128×128 and a blur 61×61, the Gaussian's
// standard deviation 5 and the motion's intensity 0.5; at 64 pixels 32×32, 15×15, 1.25
// and 0.5.
var Tasks = []Task{
	{Name: "sr4", Description: "super-resolution × 4, bicubic", New: reduce(NewSuperResolution, 4)},
	{Name: "sr2", Description: "super-resolution × 2, bicubic", New: reduce(NewSuperResolution, 2)},
	{Name: "sr8", Description: "super-resolution × 8, bicubic", New: reduce(NewSuperResolution, 8)},
	{Name: "inpaint", Description: "90 % of the pixels missing at random", Input: "mask", New: masked("inpaint"),
		Draw: func(h, w int, rng *rand.Rand) (in Inputs, err error) {
			in.Mask, err = RandomMask(h, w, 0.9, rng)
			return in, err
		}},
	{Name: "box", Description: "a box of half the image's size missing", Input: "mask", New: masked("box"),
		Draw: func(h, w int, rng *rand.Rand) (in Inputs, err error) {
			in.Mask, err = BoxMask(h, w, min(h, w)/2, rng)
			return in, err
		}},
	{Name: "mask", Description: "the pixels of a mask missing", Input: "mask", New: masked("mask")},
	{Name: "blur", Description: "Gaussian blur, reflected at the border",
		New: func(dev compute.Device, c, h, w int, _ Inputs) (Operator, error) {
			kernel, err := GaussianKernel(blurSize(min(h, w)))
			if err != nil {
				return nil, err
			}
			return NewBlur(dev, c, h, w, kernel, compute.Reflect)
		}},
	{Name: "motion", Description: "motion blur by a random kernel, reflected at the border", Input: "kernel", New: blurred("motion"),
		Draw: func(h, w int, rng *rand.Rand) (Inputs, error) {
			size, _ := blurSize(min(h, w))
			kernel, err := MotionKernel(size, 0.5, rng)
			return Inputs{Kernel: &kernel}, err
		}},
	{Name: "kernel", Description: "blur by a kernel of the caller's", Input: "kernel", New: blurred("kernel")},
	{Name: "matrix", Description: "a matrix of the caller's, on each channel or on the whole image", Input: "operator", NoPicture: true,
		New: func(dev compute.Device, c, h, w int, in Inputs) (Operator, error) {
			return matrixOperator(dev, c, h, w, in.Matrix)
		}},
	{Name: "pool4", Description: "super-resolution × 4, means of 4×4 pixels", New: reduce(NewPool, 4)},
	{Name: "pool2", Description: "super-resolution × 2, means of 2×2 pixels", New: reduce(NewPool, 2)},
	{Name: "pool8", Description: "super-resolution × 8, means of 8×8 pixels", New: reduce(NewPool, 8)},
	{Name: "colourise", Description: "colours from the luma",
		New: func(dev compute.Device, c, h, w int, _ Inputs) (Operator, error) { return NewLuma(dev, c, h, w) }},
	{Name: "denoise", Description: "noise alone",
		New: func(dev compute.Device, c, h, w int, _ Inputs) (Operator, error) { return NewIdentity(dev, c, h, w) }},
	{Name: "phase", Description: "the magnitude of the Fourier transform, twice oversampled", NoPicture: true,
		New: func(dev compute.Device, c, h, w int, _ Inputs) (Operator, error) {
			return NewPhaseRetrieval(dev, c, h, w, 2)
		}},
}

// TaskNames returns the names of Tasks, in their order.
func TaskNames() []string {
	names := make([]string, len(Tasks))
	for i, t := range Tasks {
		names[i] = t.Name
	}
	return names
}

// FindTask returns the task of that name.
func FindTask(name string) (Task, error) {
	for _, t := range Tasks {
		if t.Name == name {
			return t, nil
		}
	}
	return Task{}, fmt.Errorf("unknown task %q: known are %s", name, strings.Join(TaskNames(), ", "))
}

// ForTask makes the operator of the task of that name, as [Task].New from the inputs of
// [Task.Complete].
func ForTask(name string, dev compute.Device, c, h, w int, in Inputs) (Operator, error) {
	t, err := FindTask(name)
	if err != nil {
		return nil, err
	}
	var op Operator
	if in, err = t.Complete(h, w, in); err == nil {
		op, err = t.New(dev, c, h, w, in)
	}
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", name, err)
	}
	return op, nil
}

// masked is New of an inpainting task.
func masked(name string) func(compute.Device, int, int, int, Inputs) (Operator, error) {
	return func(dev compute.Device, c, h, w int, in Inputs) (Operator, error) {
		return newMask(name, dev, c, h, w, in.Mask)
	}
}

// blurred is New of a task with a kernel.
func blurred(name string) func(compute.Device, int, int, int, Inputs) (Operator, error) {
	return func(dev compute.Device, c, h, w int, in Inputs) (Operator, error) {
		return newBlur(name, dev, c, h, w, *in.Kernel, in.Border)
	}
}

// reduce is New of a reduction by a factor.
func reduce(by func(dev compute.Device, c, h, w, factor int) (Linear, error), factor int) func(compute.Device, int, int, int, Inputs) (Operator, error) {
	return func(dev compute.Device, c, h, w int, _ Inputs) (Operator, error) { return by(dev, c, h, w, factor) }
}

// blurSize scales the 61×61 kernel of standard deviation 5 at 256 pixels; the
// size is the nearest odd number.
func blurSize(image int) (size int, std float64) {
	return 61*image/256/2*2 + 1, 5 * float64(image) / 256
}
