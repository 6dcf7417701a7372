package picture_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// fuzzPixels is the largest picture that fuzz targets decode; larger ones take their time.
const fuzzPixels = 1 << 16

// decodeAny decodes bytes as they are and fitted to another size, both in bounded memory.
func decodeAny(t *testing.T, data []byte, mode picture.Mode) {
	pixels := 0
	if header, _, err := image.DecodeConfig(bytes.NewReader(data)); err == nil {
		if pixels = header.Width * header.Height; pixels > fuzzPixels && pixels <= picture.MaxPixels {
			return
		}
	}
	// x/image/tiff takes 10 MB for a length before it reads.
	most := 24<<20 + 64*len(data) + 100*min(pixels, fuzzPixels)
	var m picture.Image
	err := fuzztest.Check(t, most, func() (err error) {
		m, err = picture.Decode(bytes.NewReader(data), "a.picture")
		return err
	})
	if err != nil {
		require.ErrorContains(t, err, "a.picture")
		return
	}
	if m.C != 3 || len(m.Pix) != 3*m.H*m.W || m.H*m.W != pixels {
		t.Fatalf("%d values of %d×%d×%d, the header has %d pixels", len(m.Pix), m.C, m.H, m.W, pixels)
	}
	inRange(t, m.Pix)
	var fitted picture.Image
	if fuzztest.Check(t, most, func() (err error) {
		fitted, err = picture.DecodeFit(bytes.NewReader(data), "a.picture", 9, 7, mode)
		return err
	}) == nil {
		require.Len(t, fitted.Pix, 3*9*7)
		inRange(t, fitted.Pix)
	}
}

func inRange(t *testing.T, pix []float32) {
	for i, v := range pix {
		if !(v >= -1 && v <= 1) {
			t.Fatalf("value %d is %v", i, v)
		}
	}
}

// FuzzDecode decodes pictures of every format.
func FuzzDecode(f *testing.F) {
	for _, file := range files(f) {
		f.Add(file, uint8(picture.Crop))
	}
	for _, c := range lossyWebP {
		file, err := base64.StdEncoding.DecodeString(c.file)
		require.NoError(f, err)
		f.Add(file, uint8(picture.Resize))
	}
	f.Add(exif(files(f)["a.jpg"], binary.LittleEndian, "II", 6), uint8(picture.Resize))
	f.Fuzz(func(t *testing.T, data []byte, mode uint8) { decodeAny(t, data, picture.Mode(mode%4)) })
}

// FuzzWebP puts the bytes behind the head of a lossy WebP file's frame, and its transparency.
func FuzzWebP(f *testing.F) {
	var heads [2][]byte
	for i, name := range []string{"rgb", "rgba"} {
		file, err := base64.StdEncoding.DecodeString(lossyWebP[name].file)
		require.NoError(f, err)
		at := bytes.Index(file, []byte("\x9d\x01\x2a")) + 7 // the frame's start code and sizes
		heads[i] = file[:at]
		f.Add(file[at:], i == 1)
	}
	f.Fuzz(func(t *testing.T, frame []byte, alpha bool) {
		head := heads[0]
		if alpha {
			head = heads[1]
		}
		decodeAny(t, append(bytes.Clone(head), frame...), picture.Crop)
	})
}

// FuzzOrientation reads EXIF of a file in every format's way.
func FuzzOrientation(f *testing.F) {
	jpg := exif(files(f)["a.jpg"], binary.BigEndian, "MM", 8)
	f.Add(jpg)
	f.Add(jpg[6:]) // the TIFF within
	f.Add(append([]byte("RIFF\x00\x00\x00\x00WEBPEXIF\x40\x00\x00\x00"), jpg[6:]...))
	f.Add(append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x40eXIf"), jpg[12:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []string{"jpeg", "png", "webp", "tiff", "gif"} {
			_ = fuzztest.Check(t, 1<<18+64*len(data), func() error {
				if o := picture.Orientation(bytes.NewReader(data), format); o < 1 || o > 8 {
					t.Fatalf("%s: orientation %d", format, o)
				}
				return nil
			})
		}
	})
}

// FuzzMask makes masks of pictures; a mask holds zeros and ones, and both.
func FuzzMask(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\xff\xff\xff\xff\xff"), uint8(2), uint8(0))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\xff\x7f\x01\x01\x01\xff"), uint8(3), uint8(1))
	f.Add([]byte{0, 1, 0, 1}, uint8(2), uint8(2))
	f.Fuzz(func(t *testing.T, pix []byte, w, kind uint8) {
		if w == 0 {
			return
		}
		var src image.Image
		width := int(w)
		rect := func(bytes int) image.Rectangle { return image.Rect(0, 0, width, len(pix)/(bytes*width)) }
		switch kind % 3 {
		case 0:
			src = &image.NRGBA{Pix: pix, Stride: 4 * width, Rect: rect(4)}
		case 1:
			src = &image.RGBA64{Pix: pix, Stride: 8 * width, Rect: rect(8)}
		case 2:
			src = &image.Gray{Pix: pix, Stride: width, Rect: rect(1)}
		}
		b := src.Bounds()
		var mask []float32
		if fuzztest.Check(t, 1<<20+256*len(pix), func() (err error) {
			mask, err = picture.Mask(src, "mask.png", b.Dy(), b.Dx())
			return err
		}) != nil {
			return
		}
		count := map[float32]int{}
		for _, v := range mask {
			count[v]++
		}
		if len(mask) != b.Dx()*b.Dy() || len(count) != 2 || count[0] < 1 || count[1] < 1 {
			t.Fatalf("%v of %d pixels", count, b.Dx()*b.Dy())
		}
	})
}

// FuzzArray opens arrays as images.
func FuzzArray(f *testing.F) {
	for _, shape := range [][]int{{4}, {2, 2}, {3, 1, 2}, {4, 1, 3}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		var data bytes.Buffer
		require.NoError(f, npy.Write(&data, make([]float32, n), shape...))
		f.Add(data.Bytes(), 0.0, 255.0)
	}
	f.Add([]byte("\x93NUMPY\x0107\x000'descr': '<f2'00'fortran_order': False00'shape': ()0000000000000000000000"), -66.0, 1020.0) // a number
	path := filepath.Join(f.TempDir(), "a.npy")
	f.Fuzz(func(t *testing.T, data []byte, black, white float64) {
		if !(math.Abs(white-black) > 1e-6) || math.Abs(black) > 1e6 || math.Abs(white) > 1e6 {
			return // the caller's to refuse
		}
		require.NoError(t, os.WriteFile(path, data, 0o644))
		var m picture.Image
		if fuzztest.Check(t, 1<<20+64*len(data), func() (err error) {
			m, err = picture.OpenArray(path, black, white)
			return err
		}) == nil {
			require.Len(t, m.Pix, m.C*m.H*m.W)
			fuzztest.Finite(t, m.Pix...)
		}
	})
}
