package picture

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/npy"
)

// OpenArray reads an image tensor from a NumPy array (.npy) of shape [C, H, W], [H, W, 3],
// [H, W] or [W] (one channel), and maps its values linearly: black becomes −1 and white +1. Values
// beyond them are kept. A value that is not finite is an error.
func OpenArray(path string, black, white float64) (Image, error) {
	m := Image{Name: path}
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	scale := 2 / (white - black) // 1 for −1 and 1, so that values stay what they are
	values, shape, err := npy.ReadAs(bufio.NewReaderSize(f, 1<<16), func(v float64) (float32, error) {
		if v-v != 0 || math.Abs(v) > math.MaxFloat32/2 {
			return 0, fmt.Errorf("%v: only finite values make an image", v)
		}
		return float32(v*scale - (1 + black*scale)), nil
	})
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	interleaved := len(shape) == 3 && shape[2] == 3 && shape[0] > 3
	switch {
	case len(shape) == 1:
		m.C, m.H, m.W = 1, 1, shape[0]
	case len(shape) == 2:
		m.C, m.H, m.W = 1, shape[0], shape[1]
	case interleaved:
		m.C, m.H, m.W = 3, shape[0], shape[1]
	case len(shape) == 3:
		m.C, m.H, m.W = shape[0], shape[1], shape[2]
	default:
		return m, fmt.Errorf("%s has shape %v, an image has one to three dimensions: save it as [C, H, W]", path, shape)
	}
	if m.Pix = values; interleaved {
		m.Pix = make([]float32, len(values))
		plane := m.H * m.W
		for i, v := range values {
			m.Pix[i%3*plane+i/3] = v
		}
	}
	return m, nil
}

// Grey returns the luma of an image of three channels, 0.299 R + 0.587 G + 0.114 B (ITU-R
// BT.601), and an image of one channel as it is.
func (m Image) Grey() Image {
	if m.C != 3 {
		return m
	}
	plane := m.H * m.W
	out := Image{C: 1, H: m.H, W: m.W, Name: m.Name, Pix: make([]float32, plane)}
	for i := range out.Pix {
		out.Pix[i] = float32(0.299*float64(m.Pix[i]) + 0.587*float64(m.Pix[i+plane]) + 0.114*float64(m.Pix[i+2*plane]))
	}
	return out
}

// Coloured returns an image of one channel with that in each of three, and an image of
// three as it is.
func (m Image) Coloured() Image {
	if m.C == 1 {
		m.C, m.Pix = 3, slices.Concat(m.Pix, m.Pix, m.Pix)
	}
	return m
}
