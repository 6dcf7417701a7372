package picture

import (
	"bufio"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// OpenMask reads a mask of h×w pixels from a picture, see [Mask], or a NumPy array (.npy) of
// h×w values, of which those from half of the largest on are known.
func OpenMask(path string, h, w int) ([]float32, error) {
	if !strings.EqualFold(filepath.Ext(path), ".npy") {
		src, err := OpenSource(path)
		if err != nil {
			return nil, err
		}
		return Mask(src, path, h, w)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 16*int64(h*w)+1<<16 {
		return nil, fmt.Errorf("%s has %d bytes, too many for a mask of %d×%d", path, info.Size(), w, h)
	}
	values, shape, err := npy.Read(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(shape) != 2 || shape[0] != h || shape[1] != w {
		return nil, fmt.Errorf("%s has shape %v, the mask must be [%d %d]", path, shape, h, w)
	}
	return threshold(path, values, slices.Max(values)/2)
}

// Mask turns a picture into an inpainting mask, h·w values row-major: 1 where a
// pixel is known (white), 0 where it is missing (black or transparent). Grey and colours go
// to the nearer of the two by their mean; in a picture of the levels 0 and 1 of 255, as
// programs write arrays of 0 and 1, 1 is known. Another size is an error, and so is a mask
// that hides no pixel or all of them.
func Mask(src image.Image, name string, h, w int) ([]float32, error) {
	b := src.Bounds()
	if b.Dy() != h || b.Dx() != w {
		return nil, fmt.Errorf("%s is %d×%d, the mask must be %d×%d", name, b.Dx(), b.Dy(), w, h)
	}
	values, largest := make([]float64, h*w), 0.0
	for i := range values {
		red, green, blue, alpha := src.At(b.Min.X+i%w, b.Min.Y+i/w).RGBA()
		if alpha >= 0x8000 { // colours are premultiplied
			values[i] = float64(red+green+blue) / (3 * 257) * 0xffff / float64(alpha)
		}
		largest = max(largest, values[i])
	}
	if largest > 1 {
		largest = 255
	}
	return threshold(name, values, largest/2)
}

// threshold returns 1 for positive values from a limit on, and 0 for others.
func threshold(name string, values []float64, limit float64) ([]float32, error) {
	mask, known := make([]float32, len(values)), 0
	for i, v := range values {
		if !(v >= 0) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s: mask value %d is %v, numbers from 0 (missing) on are wanted", name, i, v)
		}
		if v > 0 && v >= limit {
			mask[i] = 1
			known++
		}
	}
	switch known {
	case 0:
		return nil, fmt.Errorf("%s hides every pixel: white (1) is known, black (0) or transparent is missing", name)
	case len(mask):
		return nil, fmt.Errorf("%s hides no pixel: paint the hole black (0) or make it transparent, or use --invert-mask", name)
	}
	return mask, nil
}
