package picture

import (
	"fmt"
	"image"

	"golang.org/x/image/draw"
)

// Mode says how Fit brings a picture to another size.
type Mode int

// What Fit does with a picture of another size.
const (
	Exact  Mode = iota // refuses it
	Resize             // scales the whole picture, each side by its own factor
	Crop               // cuts the largest centred part of the wanted shape, then scales it
)

// SizeError says that a picture is not of the wanted size.
type SizeError struct {
	Name         string
	H, W         int // of the picture
	WantH, WantW int
}

// Error gives sizes as width×height.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%s is %d×%d, the prior wants %d×%d: pass --resize or --crop", e.Name, e.W, e.H, e.WantW, e.WantH)
}

// Fit brings an image to h×w. An image of that size is returned as it is; another
// is a *SizeError with Exact, and is scaled with the Catmull–Rom kernel otherwise,
// which is widened by the factor when shrinking, so that nothing aliases. Scaling
// computes with 16 bits a channel and clamps to [−1, 1].
func Fit(m Image, h, w int, mode Mode) (Image, error) {
	if err := m.check(); err != nil {
		return Image{}, err
	}
	if m.H == h && m.W == w {
		return m, nil
	}
	out, err := fit(deep{m}, m.name(), m.C, h, w, mode)
	out.Name = m.Name
	return out, err
}

// fit brings a picture to h×w, of so many channels: 3, or 1 of a grey one.
func fit(src image.RGBA64Image, name string, channels, h, w int, mode Mode) (Image, error) {
	if h < 1 || w < 1 || h > MaxPixels/w {
		return Image{}, fmt.Errorf("fit %s: size %d×%d, want at least 1×1 and at most %d pixels", name, w, h, MaxPixels)
	}
	part := src.Bounds()
	srcH, srcW := part.Dy(), part.Dx()
	if max(srcH, srcW, h, w) > MaxSide {
		return Image{}, fmt.Errorf("fit %s: %d×%d to %d×%d, sides of at most %d pixels are wanted", name, srcW, srcH, w, h, MaxSide)
	}
	if srcH != h || srcW != w {
		switch mode {
		case Exact:
			return Image{}, &SizeError{name, srcH, srcW, h, w}
		case Resize:
		case Crop:
			ch, cw := srcH, srcW
			if srcW*h > srcH*w { // too wide
				cw = max((srcH*w+h/2)/h, 1)
			} else {
				ch = max((srcW*h+w/2)/w, 1)
			}
			part = image.Rect(0, 0, cw, ch).Add(image.Pt((srcW-cw)/2, (srcH-ch)/2))
		default:
			return Image{}, fmt.Errorf("fit %s: mode %d, want Exact, Resize or Crop", name, mode)
		}
		to := image.NewRGBA64(image.Rect(0, 0, w, h))
		draw.CatmullRom.Scale(to, to.Rect, src, part, draw.Src, nil)
		src = to
	}
	out := from(src)
	out.C, out.Pix, out.Name = channels, out.Pix[:channels*h*w], name
	return out, nil
}
