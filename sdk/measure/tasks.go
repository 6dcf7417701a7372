package measure

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Task is a named inverse problem whose operator follows from the image size.
type Task struct {
	Name, Description string
	// New makes the operator for c×h×w images. rng draws what is random: the
	// missing pixels, the box, the motion.
	New func(dev compute.Device, c, h, w int, rng *rand.Rand) (Operator, error)
}

// Tasks are the papers' tasks. Sizes follow the image: at 256 pixels the box is
// 128×128 and a blur 61×61, the Gaussian's standard deviation 5 and the motion's
// intensity 0.5; at 64 pixels 32×32, 15×15, 1.25 and 0.5.
var Tasks = []Task{
	{"sr4", "super-resolution × 4, bicubic", superResolutionBy(4)},
	{"sr2", "super-resolution × 2, bicubic", superResolutionBy(2)},
	{"sr8", "super-resolution × 8, bicubic", superResolutionBy(8)},
	{"inpaint", "90 % of the pixels missing at random", func(dev compute.Device, c, h, w int, rng *rand.Rand) (Operator, error) {
		keep, err := RandomMask(h, w, 0.9, rng)
		if err != nil {
			return nil, err
		}
		return newMask("inpaint", dev, c, h, w, keep)
	}},
	{"box", "a box of half the image's size missing", func(dev compute.Device, c, h, w int, rng *rand.Rand) (Operator, error) {
		keep, err := BoxMask(h, w, min(h, w)/2, rng)
		if err != nil {
			return nil, err
		}
		return newMask("box", dev, c, h, w, keep)
	}},
	{"blur", "Gaussian blur, reflected at the border", func(dev compute.Device, c, h, w int, _ *rand.Rand) (Operator, error) {
		kernel, err := GaussianKernel(blurSize(min(h, w)))
		if err != nil {
			return nil, err
		}
		return NewBlur(dev, c, h, w, kernel, compute.Reflect)
	}},
	{"motion", "motion blur by a random kernel, reflected at the border", func(dev compute.Device, c, h, w int, rng *rand.Rand) (Operator, error) {
		size, _ := blurSize(min(h, w))
		kernel, err := MotionKernel(size, 0.5, rng)
		if err != nil {
			return nil, err
		}
		return newBlur("motion", dev, c, h, w, kernel, compute.Reflect)
	}},
	{"pool4", "super-resolution × 4, means of 4×4 pixels", poolBy(4)},
	{"pool2", "super-resolution × 2, means of 2×2 pixels", poolBy(2)},
	{"pool8", "super-resolution × 8, means of 8×8 pixels", poolBy(8)},
	{"colourise", "colours from the luma", func(dev compute.Device, c, h, w int, _ *rand.Rand) (Operator, error) {
		return NewLuma(dev, c, h, w)
	}},
	{"denoise", "noise alone", func(dev compute.Device, c, h, w int, _ *rand.Rand) (Operator, error) {
		return NewIdentity(dev, c, h, w)
	}},
}

// ForTask makes the operator of the task of that name, as [Task].New.
func ForTask(name string, dev compute.Device, c, h, w int, rng *rand.Rand) (Operator, error) {
	known := make([]string, len(Tasks))
	for i, t := range Tasks {
		if t.Name == name {
			op, err := t.New(dev, c, h, w, rng)
			if err != nil {
				return nil, fmt.Errorf("task %s: %w", name, err)
			}
			return op, nil
		}
		known[i] = t.Name
	}
	return nil, fmt.Errorf("unknown task %q: %s are known", name, strings.Join(known, ", "))
}

func superResolutionBy(factor int) func(compute.Device, int, int, int, *rand.Rand) (Operator, error) {
	return func(dev compute.Device, c, h, w int, _ *rand.Rand) (Operator, error) {
		return NewSuperResolution(dev, c, h, w, factor)
	}
}

func poolBy(factor int) func(compute.Device, int, int, int, *rand.Rand) (Operator, error) {
	return func(dev compute.Device, c, h, w int, _ *rand.Rand) (Operator, error) {
		return NewPool(dev, c, h, w, factor)
	}
}

// blurSize scales the 61×61 kernel of standard deviation 5 at 256 pixels; the
// size is the nearest odd number.
func blurSize(image int) (size int, std float64) {
	return 61*image/256/2*2 + 1, 5 * float64(image) / 256
}
