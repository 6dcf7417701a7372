package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	_ "image/gif" // the formats that Decode reads
	_ "image/jpeg"
	_ "image/png"
	"io"
	"os"
	"strings"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// MaxPixels is the largest picture that Decode reads, width times height, and MaxSide its
// longest side: scaling takes memory for each row at the new width.
const MaxPixels, MaxSide = 64_000_000, 1 << 15

// Open reads a picture from a file; see Decode.
func Open(path string) (Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return Image{}, fmt.Errorf("%s is a folder, a picture file is wanted", path)
	}
	return Decode(f, path)
}

// Decode reads a PNG, JPEG, GIF (its first frame), BMP, TIFF or WebP picture as an
// Image with three channels: grey is repeated, transparency is laid on white, and
// a picture is turned upright by its EXIF orientation. Colour profiles are ignored:
// values are taken as sRGB. The name stands in errors and in Image.Name.
//
// More than MaxPixels or MaxSide are refused by the header, before memory is taken for them.
func Decode(r io.Reader, name string) (Image, error) {
	src, err := decode(r, name, floatBytes)
	if err != nil {
		return Image{}, err
	}
	m := from(src)
	m.Name = name
	return m, nil
}

// DecodeFit is [Decode] and [Fit] in one, without the picture's values at its own size.
func DecodeFit(r io.Reader, name string, h, w int, mode Mode) (Image, error) {
	src, err := decode(r, name, 0)
	if err != nil {
		return Image{}, err
	}
	return fit(src, name, 3, h, w, mode)
}

// OpenSource reads a picture from a file as [Decode] does, with its transparency and as it
// is stored.
func OpenSource(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, err := decode(f, path, 0)
	return u.src, err
}

// mostBytes bounds a picture that does not come from a file.
const mostBytes = 1 << 28

// source is a picture's file, or its bytes.
type source interface {
	io.ReadSeeker
	io.ReaderAt
}

// seekable returns what a picture can be read from more than once.
func seekable(from io.Reader, name string) (source, error) {
	if r, ok := from.(source); ok { // a pipe has a file's methods, too
		if _, err := r.Seek(0, io.SeekStart); err == nil {
			return r, nil
		}
	}
	data, err := io.ReadAll(io.LimitReader(from, mostBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > mostBytes {
		return nil, fmt.Errorf("%s has more than %d MiB: give it as a file", name, mostBytes>>20)
	}
	return bytes.NewReader(data), nil
}

// Header is what is known of a picture before its pixels are read.
type Header struct {
	H, W   int   // as it is shown, turned by its EXIF orientation
	Memory int64 // bytes that Open takes at most
}

// OpenHeader reads a picture's header from a file. It refuses what Open refuses by the header.
func OpenHeader(path string) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	config, format, err := readHeader(f, path)
	if err != nil {
		return Header{}, err
	}
	h := Header{config.Height, config.Width, memory(f, config, format) + floatBytes*int64(config.Height*config.Width)}
	if orientation(f, format) >= 5 { // mirrored on the diagonal
		h.H, h.W = h.W, h.H
	}
	return h, nil
}

// readHeader refuses pictures that are too large.
func readHeader(r source, name string) (header image.Config, format string, err error) {
	header, format, err = image.DecodeConfig(r)
	var first [1]byte
	_, empty := r.ReadAt(first[:], 0)
	switch {
	case errors.Is(err, image.ErrFormat) && empty != nil:
		err = fmt.Errorf("%s: empty, want a picture (PNG, JPEG, GIF, BMP, TIFF or WebP)", name)
	case errors.Is(err, image.ErrFormat):
		err = fmt.Errorf("%s: not a picture (PNG, JPEG, GIF, BMP, TIFF or WebP expected): save it as PNG with a program that shows it", name)
	case err != nil:
		err = unreadable(name, format, err)
	case header.Width < 1 || header.Height < 1:
		err = fmt.Errorf("%s: %s picture of %d×%d pixels, want at least one", name, strings.ToUpper(format), header.Width, header.Height)
	case header.Width > MaxPixels/header.Height:
		err = fmt.Errorf("%s is %d×%d, more than %d megapixels: make it smaller first", name, header.Width, header.Height, MaxPixels/1_000_000)
	case header.Width > MaxSide || header.Height > MaxSide:
		err = fmt.Errorf("%s is %d×%d, a side of more than %d pixels: cut it first", name, header.Width, header.Height, MaxSide)
	}
	return header, format, err
}

// floatBytes are those of an Image's pixel.
const floatBytes = 3 * 4

// memory returns how many bytes the decoding of a picture takes at most: the decoded picture and
// what its decoder keeps beside it.
func memory(r io.ReaderAt, header image.Config, format string) int64 {
	model, perPixel := header.ColorModel, 0
	deep := model == color.Gray16Model || model == color.RGBA64Model || model == color.NRGBA64Model
	switch format {
	case "jpeg":
		channels := 3
		if model == color.GrayModel {
			channels = 1
		} else if model == color.CMYKModel {
			channels = 4
		}
		perPixel = channels + 1
		if model != color.GrayModel && model != color.YCbCrModel {
			perPixel += 4 // converted
		}
		if progressive(r) {
			perPixel += 4 * channels // coefficients
		}
	case "png": // an interlaced one, with a pass of it
		perPixel = 6
		if deep {
			perPixel = 12
		}
	case "tiff": // unpacked into memory that grows
		perPixel = 20
		if deep {
			perPixel = 40
		}
	default:
		perPixel = 8
	}
	return int64(perPixel) * int64(header.Width) * int64(header.Height)
}

// alwaysFits is what is decoded without a look at the machine's memory.
const alwaysFits = 1 << 26

// decode reads a picture and its EXIF orientation. Where memory can't hold it, and so many bytes
// for each pixel of what it is made into, it is refused.
func decode(from io.Reader, name string, perPixel int64) (u upright, err error) {
	r, err := seekable(from, name)
	if err != nil {
		return u, err
	}
	header, format, err := readHeader(r, name)
	if err != nil {
		return u, err
	}
	if need := memory(r, header, format) + perPixel*int64(header.Width*header.Height); need > alwaysFits {
		if free := compute.HostMemory(); free > 0 && need > free {
			return u, fmt.Errorf("%s is %d×%d, which takes %d MiB of memory to read, %d MiB are free: make it smaller first", name, header.Width, header.Height, need>>20, free>>20)
		}
	}
	var src image.Image
	if _, err = r.Seek(0, io.SeekStart); err == nil {
		src, _, err = image.Decode(r)
	}
	if err != nil {
		return u, unreadable(name, format, err)
	}
	if format == "webp" {
		src = fullRange(src)
	}
	if screen := image.Rect(0, 0, header.Width, header.Height); src.Bounds() != screen {
		// A GIF's frame may cover a part of its screen only.
		whole := image.NewRGBA(screen)
		draw.Draw(whole, src.Bounds(), src, src.Bounds().Min, draw.Src)
		src = whole
	}
	return upright{src, orientation(r, format)}, nil
}

// unreadable returns the error for a picture with a known format and a fault within.
func unreadable(name, format string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: damaged picture: cut short: copy it again", name)
	}
	if format == "" {
		return fmt.Errorf("%s: damaged picture: %w", name, err)
	}
	return fmt.Errorf("%s: damaged or unsupported %s picture: %w; save it as PNG with a program that shows it", name, strings.ToUpper(format), err)
}
