package picture

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"golang.org/x/image/draw"
)

// Scale shows values from 0 to Top, such as standard deviations, as colours.
type Scale struct {
	Top    float64                        // above 0; what is larger has its colour
	Label  string                         // of the bar
	Colour func(share float64) color.RGBA // of 0 to 1
}

// TopOf returns a scale's top for values: the largest, rounded up to two digits; for zeros
// alone 0.01.
func TopOf(values []float32) float64 {
	top := 0.01
	for _, v := range values {
		top = max(top, float64(v))
	}
	unit := math.Pow(10, math.Floor(math.Log10(top))-1)
	return math.Ceil(top/unit-1e-9) * unit
}

// Draw returns the colours of h·w values, a pixel each.
func (s Scale) Draw(values []float32, h, w int) (*image.RGBA, error) {
	if h < 1 || w < 1 || len(values) != h*w || !(s.Top > 0) {
		return nil, fmt.Errorf("scale to %v: %d values as %d×%d, want H·W values and a top above 0", s.Top, len(values), h, w)
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for i, v := range values {
		if !(v >= 0) {
			return nil, fmt.Errorf("scale to %v: value %v in row %d, column %d, want none below 0", s.Top, v, i/w, i%w)
		}
		out.SetRGBA(i%w, i/w, s.Colour(min(float64(v)/s.Top, 1)))
	}
	return out, nil
}

// WithBar returns a picture, small ones enlarged by a whole factor, with the scale's bar
// beneath: its label, and what the colours at both ends and in the middle stand for.
func (s Scale) WithBar(p image.Image) (*image.RGBA, error) {
	const least, bar, margin = 320, 12, 16 // pixels
	small, err := newStyle(regular, 13)
	if err != nil {
		return nil, err
	}
	size := p.Bounds().Size()
	times := (least + max(size.X, size.Y) - 1) / max(size.X, size.Y)
	if max(size.X, size.Y) >= least {
		times = 1
	}
	size = size.Mul(times)
	width := max(size.X, least)
	label := small.wrap(s.Label, width)
	height := margin + size.Y + margin + label.height + bar + small.line + margin
	out := image.NewRGBA(image.Rect(0, 0, max(width, label.width)+2*margin, height))
	draw.Draw(out, out.Rect, image.NewUniform(paper), image.Point{}, draw.Src)
	draw.NearestNeighbor.Scale(out, image.Rectangle{Max: size}.Add(image.Pt(margin, margin)), p, p.Bounds(), draw.Src, nil)
	y := 2*margin + size.Y
	label.draw(out, margin, y, left, ink)
	y += label.height
	long := min(width, 2*least)
	for x := range long {
		c := image.NewUniform(s.Colour(float64(x) / float64(long-1)))
		draw.Draw(out, image.Rect(x, 0, x+1, bar).Add(image.Pt(margin, y)), c, image.Point{}, draw.Src)
	}
	for at, v := range map[anchor]float64{left: 0, centre: s.Top / 2, right: s.Top} {
		small.wrap(fmt.Sprintf("%.3g", v), long).draw(out, margin+long*int(at)/2, y+bar, at, faint)
	}
	return out, nil
}
