package picture

import "fmt"

// OpenMask reads a mask of h×w pixels from a picture file; see Mask.
func OpenMask(path string, h, w int) ([]float32, error) {
	m, err := Open(path)
	if err != nil {
		return nil, err
	}
	return Mask(m, h, w)
}

// Mask turns a picture into an inpainting mask, h·w values row-major: 1 where a
// pixel is kept (white), 0 where it is missing (black). Grey and colours go to the
// nearer of the two by their mean; transparent pixels are white, as in Decode.
// Another size and a mask that keeps nothing are errors.
func Mask(m Image, h, w int) ([]float32, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.H != h || m.W != w {
		return nil, fmt.Errorf("%s is %d×%d, the mask must be %d×%d", m.name(), m.W, m.H, w, h)
	}
	mask := make([]float32, h*w)
	kept := 0
	for i := range mask {
		sum := float32(0)
		for c := range m.C {
			sum += m.Pix[c*h*w+i]
		}
		if sum >= 0 {
			mask[i] = 1
			kept++
		}
	}
	if kept == 0 {
		return nil, fmt.Errorf("%s: the mask keeps no pixel (white is kept, black is missing): invert it?", m.name())
	}
	return mask, nil
}
