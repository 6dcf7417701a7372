package picture_test

import (
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

func TestScale(t *testing.T) {
	red := func(share float64) color.RGBA { return color.RGBA{uint8(255*share + .5), 0, 7, 255} }
	s := picture.Scale{Top: picture.TopOf([]float32{0, .1234, .03}), Label: "standard deviation", Colour: red}
	assert.InDelta(t, .13, s.Top, 1e-12)
	assert.Equal(t, .01, picture.TopOf([]float32{0}))
	assert.InDelta(t, .12, picture.TopOf([]float32{.12}), 1e-12, "a round value is its own top")
	p, err := s.Draw([]float32{0, .0325, .13, 2}, 2, 2)
	require.NoError(t, err)
	assert.Equal(t, []color.RGBA{red(0), red(.25), red(1), red(1)}, []color.RGBA{p.RGBAAt(0, 0), p.RGBAAt(1, 0), p.RGBAAt(0, 1), p.RGBAAt(1, 1)})
	_, err = s.Draw([]float32{0, -1}, 1, 2)
	assert.ErrorContains(t, err, "value -1 in row 0, column 1")
	_, err = s.Draw([]float32{0}, 1, 2)
	assert.ErrorContains(t, err, "1 values as 1×2")

	drawn, err := s.WithBar(p)
	require.NoError(t, err)
	count, box := find(drawn, red(0))
	assert.Equal(t, image.Pt(16, 16), box.Min, "the picture's first pixel")
	assert.Greater(t, count, 160*160)
	assert.Equal(t, red(.25), drawn.RGBAAt(16+160, 16), "enlarged by 160")
	_, bar := find(drawn, red(100./255)) // a shade that the picture has not
	assert.Equal(t, 12, bar.Dy())
	assert.Greater(t, bar.Min.Y, 16+320+16)
	assert.Greater(t, dark(drawn, image.Rect(16, 352, 200, bar.Min.Y)), 100, "the label")
	assert.Greater(t, dark(drawn, image.Rect(300, bar.Max.Y, 352, drawn.Rect.Max.Y)), 10, "the top")

	wide, err := s.WithBar(image.NewRGBA(image.Rect(0, 0, 900, 200)))
	require.NoError(t, err)
	assert.Equal(t, 900+32, wide.Rect.Dx(), "large pictures keep their size")
}
