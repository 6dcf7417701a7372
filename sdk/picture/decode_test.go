package picture_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// quadrants is 16×12: red, green over blue, white.
func quadrants() *image.RGBA {
	p := image.NewRGBA(image.Rect(0, 0, 16, 12))
	for i := range 16 * 12 {
		x, y := i%16, i/16
		c := color.RGBA{255, 0, 0, 255}
		switch {
		case y >= 6 && x >= 8:
			c = color.RGBA{255, 255, 255, 255}
		case y >= 6:
			c = color.RGBA{0, 0, 255, 255}
		case x >= 8:
			c = color.RGBA{0, 255, 0, 255}
		}
		p.SetRGBA(x, y, c)
	}
	return p
}

// corners returns the colours of the four quadrants, as three letters of 0 and 1.
func corners(m picture.Image) (out [4]string) {
	for k, at := range [4][2]int{{1, 1}, {1, m.W - 2}, {m.H - 2, 1}, {m.H - 2, m.W - 2}} {
		for c := range 3 {
			if m.Pix[(c*m.H+at[0])*m.W+at[1]] > 0 {
				out[k] += "1"
			} else {
				out[k] += "0"
			}
		}
	}
	return out
}

func encoded(t testing.TB, encode func(io.Writer, image.Image) error) []byte {
	var b bytes.Buffer
	require.NoError(t, encode(&b, quadrants()))
	return b.Bytes()
}

// files returns the same picture in every format that can be written here.
func files(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"a.png":  encoded(t, png.Encode),
		"a.bmp":  encoded(t, bmp.Encode),
		"a.jpg":  encoded(t, func(w io.Writer, p image.Image) error { return jpeg.Encode(w, p, &jpeg.Options{Quality: 95}) }),
		"a.gif":  encoded(t, func(w io.Writer, p image.Image) error { return gif.Encode(w, p, nil) }),
		"a.tiff": encoded(t, func(w io.Writer, p image.Image) error { return tiff.Encode(w, p, nil) }),
	}
}

var upright = [4]string{"100", "010", "001", "111"}

func TestFormats(t *testing.T) {
	for name, file := range files(t) {
		m, err := picture.Decode(bytes.NewReader(file), name)
		require.NoError(t, err)
		require.Equal(t, []any{3, 12, 16, name}, []any{m.C, m.H, m.W, m.Name})
		require.Equal(t, upright, corners(m), name)
	}
	webp, err := base64.StdEncoding.DecodeString("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
	require.NoError(t, err)
	m, err := picture.Decode(bytes.NewReader(webp), "a.webp")
	require.NoError(t, err)
	require.Equal(t, [3]int{3, 1, 1}, [3]int{m.C, m.H, m.W})
}

func TestDepthOf16BitsIsKept(t *testing.T) {
	p := image.NewGray16(image.Rect(0, 0, 1, 1))
	p.SetGray16(0, 0, color.Gray16{12345})
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, p))
	m, err := picture.Decode(&file, "deep.png")
	require.NoError(t, err)
	require.InDelta(t, 12345./32767.5-1, m.Pix[0], 1e-7)
}

func TestFirstFrameOfGIF(t *testing.T) {
	small := image.NewPaletted(image.Rect(8, 6, 16, 12), color.Palette{color.RGBA{255, 0, 0, 255}})
	whole := image.NewPaletted(image.Rect(0, 0, 16, 12), color.Palette{color.Black})
	var file bytes.Buffer
	require.NoError(t, gif.EncodeAll(&file, &gif.GIF{
		Image: []*image.Paletted{small, whole}, Delay: []int{1, 1}, Config: image.Config{Width: 16, Height: 12}}))
	m, err := picture.Decode(&file, "two.gif")
	require.NoError(t, err)
	require.Equal(t, [2]int{12, 16}, [2]int{m.H, m.W}, "the screen, not the frame")
	require.Equal(t, [4]string{"111", "111", "111", "100"}, corners(m))
}

// exif puts an APP1 segment with an orientation behind the start of a JPEG.
func exif(file []byte, order binary.AppendByteOrder, mark string, orientation uint16) []byte {
	tiff := order.AppendUint32(order.AppendUint16([]byte(mark), 42), 8)
	tiff = order.AppendUint16(tiff, 2) // entries
	tiff = order.AppendUint32(order.AppendUint32(order.AppendUint32(tiff, 0x0100_0004), 1), 16)
	tiff = order.AppendUint16(order.AppendUint16(tiff, 0x0112), 3)
	tiff = order.AppendUint16(order.AppendUint32(tiff, 1), orientation)
	tiff = order.AppendUint32(order.AppendUint16(tiff, 0), 0)
	body := append([]byte("Exif\x00\x00"), tiff...)
	out := append([]byte{}, file[:2]...)
	out = binary.BigEndian.AppendUint16(append(out, 0xff, 0xe1), uint16(len(body)+2))
	return append(append(out, body...), file[2:]...)
}

func TestOrientation(t *testing.T) {
	file := files(t)["a.jpg"]
	const r, g, b, w = "100", "010", "001", "111"
	want := [][4]string{ // EXIF 2.3, section 4.6.4: where the stored row 0 and column 0 are
		1: {r, g, b, w}, 2: {g, r, w, b}, 3: {w, b, g, r}, 4: {b, w, r, g},
		5: {r, b, g, w}, 6: {b, r, w, g}, 7: {w, g, b, r}, 8: {g, w, r, b},
		9: {r, g, b, w}, // not defined: as stored
	}
	for o := 1; o < len(want); o++ {
		for mark, order := range map[string]binary.AppendByteOrder{"II": binary.LittleEndian, "MM": binary.BigEndian} {
			m, err := picture.Decode(bytes.NewReader(exif(file, order, mark, uint16(o))), "a.jpg")
			require.NoError(t, err)
			require.Equal(t, want[o], corners(m), "orientation %d, %s", o, mark)
			require.Equal(t, 5 <= o && o <= 8, m.H == 16)
		}
	}
}

func TestNotAPicture(t *testing.T) {
	_, err := picture.Decode(strings.NewReader("Dear diary"), "notes.txt")
	require.EqualError(t, err, "notes.txt: not a picture (PNG, JPEG, GIF, BMP, TIFF or WebP expected): save it as PNG with a program that shows it")
	_, err = picture.Decode(strings.NewReader(""), "none.png")
	require.ErrorContains(t, err, "none.png: empty")
	_, err = picture.Open(filepath.Join(t.TempDir(), "gone.png"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "gone.png")
	dir := t.TempDir()
	_, err = picture.Open(dir)
	require.EqualError(t, err, dir+" is a folder, a picture file is wanted")
}

// Whatever is cut off or flipped, Decode answers without a panic, and a file that
// is cut short is named.
func TestDamagedFiles(t *testing.T) {
	for name, file := range files(t) {
		for n := 1; n < len(file); n += 1 + len(file)/150 {
			_, err := picture.Decode(bytes.NewReader(file[:n]), name)
			if err != nil {
				require.ErrorContains(t, err, name)
			}
			bad := bytes.Clone(file)
			bad[n] ^= 0xa5
			if m, err := picture.Decode(bytes.NewReader(bad), name); err == nil {
				_, err = m.RGBA()
				require.NoError(t, err)
			}
		}
		_, err := picture.Decode(bytes.NewReader(file[:len(file)/2]), name)
		require.ErrorContains(t, err, name)
	}
	_, err := picture.Decode(bytes.NewReader(files(t)["a.png"][:36]), "half.png")
	require.EqualError(t, err, "half.png: damaged picture: cut short: copy it again")
	file := exif(files(t)["a.jpg"], binary.LittleEndian, "II", 6)
	for n := range 40 { // within the EXIF segment
		bad := bytes.Clone(file)
		bad[2+n] ^= 0xff
		_, err := picture.Decode(bytes.NewReader(bad), "a.jpg")
		if err != nil {
			require.ErrorContains(t, err, "a.jpg")
		}
	}
}

func TestHugePicturesAreRefusedByTheirHeader(t *testing.T) {
	png := func(w, h uint32) io.Reader {
		header := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
		header = append(binary.BigEndian.AppendUint32(header, h), 8, 2, 0, 0, 0)
		file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
		return bytes.NewReader(binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(header)))
	}
	_, err := picture.Decode(png(100_000, 90_000), "bomb.png")
	require.EqualError(t, err, "bomb.png is 100000×90000, more than 64 megapixels: make it smaller first")
	for _, size := range [][2]uint32{{1, 64_000_000}, {64_000_000, 1}} { // scaling these took 4 GB or a panic
		_, err = picture.DecodeFit(png(size[0], size[1]), "thin.png", 64, 64, picture.Resize)
		require.ErrorContains(t, err, "a side of more than 32768 pixels: cut it first")
	}

	_, err = picture.Decode(strings.NewReader("GIF89a\xff\xff\xff\xff\x00\x00\x00"), "bomb.gif")
	require.ErrorContains(t, err, "bomb.gif is 65535×65535")
	_, err = picture.Decode(strings.NewReader("GIF89a\x00\x00\x00\x00\x00\x00\x00"), "none.gif")
	require.ErrorContains(t, err, "none.gif: GIF picture of 0×0 pixels")
}
