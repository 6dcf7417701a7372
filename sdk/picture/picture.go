// Package picture stands between picture files and image tensors: it opens and
// fits pictures, writes PNG, reads masks and draws labelled grids of results.
package picture

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"github.com/cmi-diffusion/cmi/internal/parallel"
)

// Image is one image tensor on the host: planar C×H×W, row-major, on [−1, 1]. A
// byte v of a picture is x = v/127.5 − 1, so that 255 is +1. Values outside are
// allowed (measurements have them) and clamp where a picture is made.
type Image struct {
	C, H, W int       // C is 3 (red, green, blue) or 1 (grey)
	Pix     []float32 // C·H·W values
	Name    string    // the file it came from, for messages; may be empty
}

// From converts a picture to an Image with three channels: grey is repeated,
// transparency is laid on white, 16-bit depth is kept.
func From(src image.Image) Image { return from(upright{src, 1}) }

func from(src image.RGBA64Image) Image {
	b := src.Bounds()
	m := Image{C: 3, H: b.Dy(), W: b.Dx(), Pix: make([]float32, 3*b.Dx()*b.Dy())}
	plane := m.H * m.W
	parallel.For(m.H, func(y int) {
		for x := range m.W {
			i := y*m.W + x
			c := src.RGBA64At(b.Min.X+x, b.Min.Y+y)
			m.Pix[i], m.Pix[i+plane], m.Pix[i+2*plane] = signed(c.R), signed(c.G), signed(c.B)
		}
	})
	return m
}

// signed maps 0 … 65535 to [−1, 1]. For an 8-bit value v, 257·v here, it is
// v/127.5 − 1 to the last bit of a float32.
func signed(v uint16) float32 { return float32(float64(v)*2/65535 - 1) }

// level maps [−1, 1] to 0 … top, to the nearest, clamped.
func level(x float32, top float64) float64 {
	return min(max(math.Floor((float64(x)+1)*top/2+.5), 0), top)
}

// RGBA returns the image as an 8-bit picture, rounded to the nearest and clamped. A
// value that is not finite is an error.
func (m Image) RGBA() (*image.RGBA, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	out := image.NewRGBA(image.Rect(0, 0, m.W, m.H))
	plane := m.H * m.W
	for i := range plane {
		for c := range 3 {
			out.Pix[4*i+c] = uint8(level(m.Pix[i+c%m.C*plane], 255))
		}
		out.Pix[4*i+3] = 255
	}
	return out, nil
}

// check refuses what cannot be shown as a picture.
func (m Image) check() error {
	if (m.C != 1 && m.C != 3) || m.H < 1 || m.W < 1 || len(m.Pix) != m.C*m.H*m.W {
		return fmt.Errorf("%s: %d values as %d×%d×%d (C×H×W), want C 1 or 3 and C·H·W values", m.name(), len(m.Pix), m.C, m.H, m.W)
	}
	for i, v := range m.Pix {
		if v-v != 0 {
			return fmt.Errorf("%s: value %v in channel %d, row %d, column %d: only finite values make a picture",
				m.name(), v, i/(m.H*m.W), i/m.W%m.H, i%m.W)
		}
	}
	return nil
}

func (m Image) name() string {
	if m.Name == "" {
		return "picture"
	}
	return m.Name
}

// deep shows an Image to image/draw as a picture of 16 bits, without a copy.
type deep struct{ Image }

func (d deep) ColorModel() color.Model { return color.RGBA64Model }
func (d deep) Bounds() image.Rectangle { return image.Rect(0, 0, d.W, d.H) }
func (d deep) At(x, y int) color.Color { return d.RGBA64At(x, y) }
func (d deep) RGBA64At(x, y int) color.RGBA64 {
	at := func(c int) uint16 { return uint16(level(d.Pix[(c%d.C*d.H+y)*d.W+x], 65535)) }
	return color.RGBA64{R: at(0), G: at(1), B: at(2), A: 0xffff}
}
