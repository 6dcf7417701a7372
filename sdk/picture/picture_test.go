package picture_test

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// randomImage has values on [−1.2, 1.2], so some of them clamp.
func randomImage(seed uint64, c, h, w int) picture.Image {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := picture.Image{C: c, H: h, W: w, Pix: make([]float32, c*h*w)}
	for i := range m.Pix {
		m.Pix[i] = 2.4*rng.Float32() - 1.2
	}
	return m
}

// flat returns an image of one colour.
func flat(h, w int, rgb ...float32) picture.Image {
	m := picture.Image{C: len(rgb), H: h, W: w}
	for _, v := range rgb {
		for range h * w {
			m.Pix = append(m.Pix, v)
		}
	}
	return m
}

func TestEveryByteIsExact(t *testing.T) {
	grey := image.NewGray(image.Rect(0, 0, 256, 1))
	for i := range 256 {
		grey.Pix[i] = uint8(i)
	}
	m := picture.From(grey)
	require.Equal(t, [3]int{3, 1, 256}, [3]int{m.C, m.H, m.W})
	for i, v := range m.Pix {
		require.Equal(t, float32(float64(i%256)/127.5-1), v)
	}
	back, err := m.RGBA()
	require.NoError(t, err)
	for i := range 256 {
		b := uint8(i)
		require.Equal(t, color.RGBA{b, b, b, 255}, back.RGBAAt(i, 0))
	}
}

func TestRoundingAndClamping(t *testing.T) {
	at := func(level float64) float32 { return float32(level/127.5 - 1) }
	m := picture.Image{C: 1, H: 1, W: 6, Pix: []float32{-7, at(10.49), at(10.51), at(254.6), 1.001, 40}}
	p, err := m.RGBA()
	require.NoError(t, err)
	for x, want := range []uint8{0, 10, 11, 255, 255, 255} {
		require.Equal(t, color.RGBA{want, want, want, 255}, p.RGBAAt(x, 0))
	}
}

func TestTransparencyIsLaidOnWhite(t *testing.T) {
	p := image.NewNRGBA(image.Rect(0, 0, 3, 1))
	p.SetNRGBA(0, 0, color.NRGBA{255, 0, 0, 255})
	p.SetNRGBA(1, 0, color.NRGBA{255, 0, 0, 51}) // a fifth of red on white
	p.SetNRGBA(2, 0, color.NRGBA{0, 0, 0, 0})
	back, err := picture.From(p).RGBA()
	require.NoError(t, err)
	require.Equal(t, color.RGBA{255, 0, 0, 255}, back.RGBAAt(0, 0))
	require.Equal(t, color.RGBA{255, 204, 204, 255}, back.RGBAAt(1, 0))
	require.Equal(t, color.RGBA{255, 255, 255, 255}, back.RGBAAt(2, 0))
}

func TestNotFiniteIsAnError(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		m := flat(4, 5, 0, 0, 0)
		m.Pix[20+2*5+3] = float32(bad)
		path := filepath.Join(t.TempDir(), "x.png")
		require.ErrorContains(t, m.SavePNG(path), "channel 1, row 2, column 3")
		require.NoFileExists(t, path)
		_, err := picture.Fit(m, 2, 2, picture.Resize)
		require.ErrorContains(t, err, "only finite values")
	}
	_, err := picture.Image{C: 3, H: 2, W: 2, Pix: make([]float32, 11)}.RGBA()
	require.ErrorContains(t, err, "11 values as 3×2×2")
	_, err = picture.Image{}.RGBA()
	require.Error(t, err)
}

func TestSaveAndOpenAgain(t *testing.T) {
	for _, c := range []int{1, 3} {
		m := randomImage(uint64(c), c, 7, 9)
		path := filepath.Join(t.TempDir(), "face ü.PNG")
		require.NoError(t, m.SavePNG(path))
		back, err := picture.Open(path)
		require.NoError(t, err)
		require.Equal(t, []any{3, 7, 9, path}, []any{back.C, back.H, back.W, back.Name})
		for i, v := range back.Pix {
			want := min(max(m.Pix[i%len(m.Pix)], -1), 1)
			require.InDelta(t, want, v, .5/127.5+1e-6, "half a level")
		}
		again := filepath.Join(t.TempDir(), "b.png")
		require.NoError(t, back.SavePNG(again))
		first, err := os.ReadFile(path)
		require.NoError(t, err)
		second, err := os.ReadFile(again)
		require.NoError(t, err)
		require.Equal(t, first, second, "the second round trip changes nothing")
	}
}

func TestMask(t *testing.T) {
	p := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	for i, c := range []color.Color{color.White, color.Black, color.Gray{127}, color.Gray{128}, color.Transparent, color.NRGBA{255, 0, 0, 255}} {
		p.Set(i%3, i/3, c)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "mask.png")
	require.NoError(t, picture.SavePNG(path, p))
	mask, err := picture.OpenMask(path, 2, 3)
	require.NoError(t, err)
	require.Equal(t, []float32{1, 0, 0, 1, 0, 0}, mask)

	// A hole that is transparent, whatever the colour; levels 0 and 1 of 255.
	hole, bits := image.NewNRGBA(image.Rect(0, 0, 2, 1)), image.NewGray(image.Rect(0, 0, 2, 1))
	hole.Set(0, 0, color.NRGBA{200, 200, 200, 255})
	hole.Set(1, 0, color.NRGBA{200, 200, 200, 0})
	bits.Set(0, 0, color.Gray{1})
	for _, m := range []image.Image{hole, bits} {
		mask, err := picture.Mask(m, "mask", 1, 2)
		require.NoError(t, err)
		require.Equal(t, []float32{1, 0}, mask)
	}
	for want, m := range map[string]image.Image{
		"black.png hides every pixel: white": image.NewGray(image.Rect(0, 0, 2, 2)),
		"white.png hides no pixel: paint":    image.NewUniform(color.White),
	} {
		whole := image.NewGray(image.Rect(0, 0, 2, 2))
		draw.Draw(whole, whole.Rect, m, image.Point{}, draw.Src)
		name, _, _ := strings.Cut(want, " ")
		_, err := picture.Mask(whole, name, 2, 2)
		require.ErrorContains(t, err, want)
	}

	save := func(values []float64, shape ...int) string {
		path := filepath.Join(dir, "mask.npy")
		file, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, npy.Write(file, values, shape...))
		require.NoError(t, file.Close())
		return path
	}
	for _, values := range [][]float64{{1, 0, 1, 1}, {255, 0, 255, 255}} {
		mask, err = picture.OpenMask(save(values, 2, 2), 2, 2)
		require.NoError(t, err)
		require.Equal(t, []float32{1, 0, 1, 1}, mask)
	}
	for want, file := range map[string]func() string{
		"has shape [4], the mask must be [2 2]": func() string { return save([]float64{1, 0, 1, 1}, 4) },
		"mask value 1 is NaN":                   func() string { return save([]float64{1, math.NaN(), 1, 1}, 2, 2) },
		"mask value 0 is -1":                    func() string { return save([]float64{-1, 0, 1, 1}, 2, 2) },
		"hides every pixel":                     func() string { return save(make([]float64, 4), 2, 2) },
	} {
		_, err := picture.OpenMask(file(), 2, 2)
		require.ErrorContains(t, err, want)
	}

	_, err = picture.OpenMask(path, 64, 64)
	require.EqualError(t, err, path+" is 3×2, the mask must be 64×64")
	_, err = picture.OpenMask(path+"x", 2, 3)
	require.ErrorIs(t, err, os.ErrNotExist)
}
