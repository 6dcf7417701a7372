package picture

import (
	"image"
	"image/color"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

var (
	regular = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(goregular.TTF) })
	bold    = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(gobold.TTF) })
)

// style is a font at one size.
type style struct {
	face         font.Face
	ascent, line int // pixels from a line's top to its baseline and to the next line
}

func newStyle(parsed func() (*opentype.Font, error), pixels float64) (style, error) {
	f, err := parsed()
	if err != nil {
		return style{}, err
	}
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: pixels, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		return style{}, err
	}
	return style{face, int(.95*pixels + .5), int(1.3*pixels + .5)}, nil
}

func (s style) measure(text string) int { return font.MeasureString(s.face, text).Ceil() }

// block is text in lines.
type block struct {
	lines         []string
	style         style
	width, height int
}

// wrap breaks text at its line breaks and, where a line is wider than limit,
// between words. A word wider than that stays whole.
func (s style) wrap(text string, limit int) block {
	b := block{style: s}
	if text == "" {
		return b
	}
	for _, line := range strings.Split(text, "\n") {
		for s.measure(line) > limit {
			cut := -1 // the last space before which the line fits, else the first
			for i, r := range line {
				if r == ' ' && i > 0 && (cut < 0 || s.measure(line[:i]) <= limit) {
					cut = i
				}
			}
			if cut < 0 {
				break
			}
			b.lines = append(b.lines, strings.TrimRight(line[:cut], " "))
			line = strings.TrimLeft(line[cut:], " ")
		}
		b.lines = append(b.lines, line)
	}
	for _, line := range b.lines {
		b.width = max(b.width, s.measure(line))
	}
	b.height = len(b.lines) * s.line
	return b
}

// anchor says which point of a line lies at x: 0 its left end, 1 its middle, 2 its
// right end.
type anchor int

const (
	left anchor = iota
	centre
	right
)

// draw writes a block with its top at y.
func (b block) draw(to *image.RGBA, x, y int, at anchor, c color.Color) {
	for i, line := range b.lines {
		pen := font.Drawer{Dst: to, Src: image.NewUniform(c), Face: b.style.face}
		pen.Dot = fixed.P(x-b.style.measure(line)*int(at)/2, y+i*b.style.line+b.style.ascent)
		pen.DrawString(line)
	}
}
