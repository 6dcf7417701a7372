package picture_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

func TestExactSize(t *testing.T) {
	m := flat(60, 80, 0, 0, 0)
	m.Name = "a.png"
	_, err := picture.Fit(m, 64, 64, picture.Exact)
	require.EqualError(t, err, "a.png is 80×60, the prior wants 64×64: pass --resize or --crop")
	var size *picture.SizeError
	require.ErrorAs(t, err, &size)
	require.Equal(t, picture.SizeError{"a.png", 60, 80, 64, 64}, *size)

	for _, mode := range []picture.Mode{picture.Exact, picture.Resize, picture.Crop} {
		same, err := picture.Fit(m, 60, 80, mode)
		require.NoError(t, err)
		require.Equal(t, m, same)
	}
	_, err = picture.Fit(m, 0, 64, picture.Resize)
	require.ErrorContains(t, err, "want at least 1×1")
	_, err = picture.Fit(flat(1, picture.MaxSide+1, 0), 64, 64, picture.Resize)
	require.ErrorContains(t, err, "at most 32768 pixels")
	_, err = picture.Fit(m, 64, 64, 7)
	require.ErrorContains(t, err, "mode 7")
}

func TestFitKeepsConstants(t *testing.T) {
	for _, m := range []picture.Image{flat(50, 31, .3, -.9, 1), flat(50, 31, -.25), flat(1, 1, .1, .2, .3)} {
		for _, size := range [][2]int{{64, 64}, {16, 16}, {7, 90}, {1, 1}} {
			for _, mode := range []picture.Mode{picture.Resize, picture.Crop} {
				got, err := picture.Fit(m, size[0], size[1], mode)
				require.NoError(t, err)
				require.Equal(t, [3]int{m.C, size[0], size[1]}, [3]int{got.C, got.H, got.W})
				want := flat(size[0], size[1], firsts(m)...)
				require.InDeltaSlice(t, want.Pix, got.Pix, 4e-5, "16 bits") // spacing 3e-5
			}
		}
	}
}

func firsts(m picture.Image) (out []float32) {
	for c := range m.C {
		out = append(out, m.Pix[c*m.H*m.W])
	}
	return out
}

// Stripes finer than the new pixels must average out, not alias.
func TestShrinkingDoesNotAlias(t *testing.T) {
	m := flat(256, 256, 0, 0, 0)
	for i := range m.Pix {
		m.Pix[i] = float32(1 - 2*(i/3%2)) // not a divisor of the factor
	}
	got, err := picture.Fit(m, 64, 64, picture.Resize)
	require.NoError(t, err)
	for _, v := range got.Pix {
		require.InDelta(t, 0, v, .1)
	}
}

func TestCropTakesTheCentre(t *testing.T) {
	for _, size := range [][2]int{{40, 100}, {100, 40}} { // H, W
		m := flat(size[0], size[1], -1)
		for i := range m.Pix { // a white square of 40×40 in the middle
			y, x := i/m.W, i%m.W
			if y >= m.H/2-20 && y < m.H/2+20 && x >= m.W/2-20 && x < m.W/2+20 {
				m.Pix[i] = 1
			}
		}
		got, err := picture.Fit(m, 20, 20, picture.Crop)
		require.NoError(t, err)
		require.InDeltaSlice(t, flat(20, 20, 1).Pix, got.Pix, 1e-4, "nothing of the rest")
		whole, err := picture.Fit(m, 20, 20, picture.Resize)
		require.NoError(t, err)
		require.InDelta(t, -1, whole.Pix[0], 1e-4)
	}
	// The part has the shape that is wanted, if that is no square.
	wide := flat(100, 100, -1)
	for i := range wide.Pix {
		if y := i / 100; y >= 25 && y < 75 {
			wide.Pix[i] = 1
		}
	}
	got, err := picture.Fit(wide, 10, 20, picture.Crop)
	require.NoError(t, err)
	require.InDeltaSlice(t, flat(10, 20, 1).Pix, got.Pix, 1e-4)
}
