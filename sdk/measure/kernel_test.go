package measure_test

import (
	"image"
	"image/color"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/measure"
)

func TestNewKernel(t *testing.T) {
	weights := []float64{1, 2, -1, 4, 0, 2}
	k, err := measure.NewKernel(3, 1, weights[:3])
	require.NoError(t, err)
	assert.Equal(t, measure.Kernel{H: 3, W: 1, Weights: []float64{0.5, 1, -0.5}}, k)
	assert.Equal(t, 1.0, weights[0], "the caller's weights stay")
	for says, build := range map[string]func() (measure.Kernel, error){
		"a blur kernel of 3×2 with 6 weights: odd":  func() (measure.Kernel, error) { return measure.NewKernel(3, 2, weights) },
		"a blur kernel of 3×3 with 6 weights":       func() (measure.Kernel, error) { return measure.NewKernel(3, 3, weights) },
		"a blur kernel of -1×-1":                    func() (measure.Kernel, error) { return measure.NewKernel(-1, -1, weights[:1]) },
		"kernel is zero":                            func() (measure.Kernel, error) { return measure.NewKernel(1, 3, make([]float64, 3)) },
		"sum to 0 and cannot":                       func() (measure.Kernel, error) { return measure.NewKernel(1, 3, []float64{1, -2, 1}) },
		"sum to -2 and cannot":                      func() (measure.Kernel, error) { return measure.NewKernel(1, 1, []float64{-2}) },
		"weight 0 is NaN":                           func() (measure.Kernel, error) { return measure.NewKernel(1, 1, []float64{math.NaN()}) },
		"a blur kernel of 4×3 with 12 weights: odd": func() (measure.Kernel, error) { return measure.PictureKernel(image.NewGray(image.Rect(0, 0, 3, 4))) },
		"the blur kernel is zero":                   func() (measure.Kernel, error) { return measure.PictureKernel(image.NewGray(image.Rect(0, 0, 3, 3))) },
		"a blur kernel of 0×0 with 0":               func() (measure.Kernel, error) { return measure.PictureKernel(image.NewGray(image.Rectangle{})) },
	} {
		_, err := build()
		assert.ErrorContains(t, err, says)
	}
}

// A picture is read row by row, from whatever corner it has, with transparency black.
func TestPictureKernel(t *testing.T) {
	m := image.NewNRGBA(image.Rect(5, 7, 8, 8))
	m.Set(5, 7, color.White)
	m.Set(6, 7, color.NRGBA{R: 255, G: 255, B: 255})
	m.Set(7, 7, color.Gray{Y: 51})
	k, err := measure.PictureKernel(m)
	require.NoError(t, err)
	assert.Equal(t, [2]int{1, 3}, [2]int{k.H, k.W})
	for i, want := range []float64{1 / 1.2, 0, 0.2 / 1.2} {
		assert.InDelta(t, want, k.Weights[i], 1e-9)
	}
}
