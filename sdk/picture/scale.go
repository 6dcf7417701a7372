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

// barThickness is that of a scale's bar, and leastBar the length it has at least, in pixels.
const barThickness, leastBar = 12, 320

// WithBar returns a picture, small ones enlarged by a whole factor, with the scale's bar
// beneath: its label, and what the colours at both ends and in the middle stand for.
func (s Scale) WithBar(p image.Image) (*image.RGBA, error) {
	const margin = 16 // pixels
	small, err := newStyle(regular, 13)
	if err != nil {
		return nil, err
	}
	size := p.Bounds().Size()
	times := (leastBar + max(size.X, size.Y) - 1) / max(size.X, size.Y)
	if max(size.X, size.Y) >= leastBar {
		times = 1
	}
	size = size.Mul(times)
	width := max(size.X, leastBar)
	label := small.wrap(s.Label, width)
	out := image.NewRGBA(image.Rect(0, 0, max(width, label.width)+2*margin, 3*margin+size.Y+s.barHeight(label, small)))
	draw.Draw(out, out.Rect, image.NewUniform(paper), image.Point{}, draw.Src)
	draw.NearestNeighbor.Scale(out, image.Rectangle{Max: size}.Add(image.Pt(margin, margin)), p, p.Bounds(), draw.Src, nil)
	s.drawBar(out, image.Pt(margin, 2*margin+size.Y), width, label, small)
	return out, nil
}

// barHeight returns the height of the bar with its label and numbers.
func (s Scale) barHeight(label block, numbers style) int {
	return label.height + barThickness + numbers.line
}

// drawBar draws the label, the bar below it and its numbers, at most as wide as that.
func (s Scale) drawBar(to *image.RGBA, at image.Point, width int, label block, numbers style) {
	label.draw(to, at.X, at.Y, left, ink)
	y := at.Y + label.height
	long := min(width, 2*leastBar)
	for x := range long {
		c := image.NewUniform(s.Colour(float64(x) / float64(long-1)))
		draw.Draw(to, image.Rect(x, 0, x+1, barThickness).Add(image.Pt(at.X, y)), c, image.Point{}, draw.Src)
	}
	for where, v := range map[anchor]float64{left: 0, centre: s.Top / 2, right: s.Top} {
		numbers.wrap(fmt.Sprintf("%.3g", v), long).draw(to, at.X+long*int(where)/2, y+barThickness, where, faint)
	}
}
