package measure_test

import (
	"encoding/binary"
	"image"
	"math"
	"testing"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/measure"
)

// isKernel fails the test unless a kernel that was accepted is finite and sums to 1.
func isKernel(t *testing.T, k measure.Kernel) {
	fuzztest.Finite(t, k.Weights...)
	sum, size := 0.0, 0.0
	for _, v := range k.Weights {
		sum += v
		size += math.Abs(v)
	}
	if !(math.Abs(sum-1) < 1e-9*size) || k.H%2 == 0 || k.W%2 == 0 || len(k.Weights) != k.H*k.W {
		t.Fatalf("a kernel of %d×%d, %d weights, sum %v, of absolute values %v", k.H, k.W, len(k.Weights), sum, size)
	}
}

// FuzzKernel makes kernels of any numbers.
func FuzzKernel(f *testing.F) {
	add := func(h, w int16, values ...float64) {
		var data []byte
		for _, v := range values {
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
		}
		f.Add(h, w, data)
	}
	add(1, 3, 1, 2, 1)
	add(3, 1, -1, math.MaxFloat64, math.MaxFloat64)
	add(1, 1, math.NaN())
	add(1, 3, 5e-324, 0, math.Inf(1))
	add(2, 2, 1e6, -1e6, 1, 1)
	f.Fuzz(func(t *testing.T, h, w int16, data []byte) {
		weights := make([]float64, len(data)/8)
		for i := range weights {
			weights[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		}
		var k measure.Kernel
		if fuzztest.Check(t, 1<<20+8*len(data), func() (err error) {
			k, err = measure.NewKernel(int(h), int(w), weights)
			return err
		}) == nil {
			isKernel(t, k)
		}
	})
}

// FuzzPictureKernel makes kernels of pictures.
func FuzzPictureKernel(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\x01\xff\xff\xff\xff\x00\x00\x00\xff"), uint8(3))
	f.Add([]byte("\x01\x02\x03\x00"), uint8(1))
	f.Fuzz(func(t *testing.T, pix []byte, w uint8) {
		if w == 0 {
			return
		}
		src := &image.NRGBA{Pix: pix, Stride: 4 * int(w), Rect: image.Rect(0, 0, int(w), len(pix)/(4*int(w)))}
		var k measure.Kernel
		if fuzztest.Check(t, 1<<20+64*len(pix), func() (err error) {
			k, err = measure.PictureKernel(src)
			return err
		}) == nil {
			isKernel(t, k)
		}
	})
}
