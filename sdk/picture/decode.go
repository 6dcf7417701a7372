package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
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
	src, err := decode(r, name)
	if err != nil {
		return Image{}, err
	}
	m := from(src)
	m.Name = name
	return m, nil
}

// DecodeFit is [Decode] and [Fit] in one, without the picture's values at its own size.
func DecodeFit(r io.Reader, name string, h, w int, mode Mode) (Image, error) {
	src, err := decode(r, name)
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
	u, err := decode(f, path)
	return u.src, err
}

// mostBytes bounds a picture that does not come from a file.
const mostBytes = 1 << 28

// decode reads a picture and its EXIF orientation.
func decode(from io.Reader, name string) (u upright, err error) {
	r, ok := from.(interface {
		io.ReadSeeker
		io.ReaderAt
	})
	if ok { // a pipe has a file's methods, too
		_, err := r.Seek(0, io.SeekStart)
		ok = err == nil
	}
	if !ok {
		data, err := io.ReadAll(io.LimitReader(from, mostBytes+1))
		if err != nil {
			return u, fmt.Errorf("%s: %w", name, err)
		}
		if len(data) > mostBytes {
			return u, fmt.Errorf("%s has more than %d MiB: give it as a file", name, mostBytes>>20)
		}
		r = bytes.NewReader(data)
	}
	header, format, err := image.DecodeConfig(r)
	var first [1]byte
	_, empty := r.ReadAt(first[:], 0)
	switch {
	case errors.Is(err, image.ErrFormat) && empty != nil:
		return u, fmt.Errorf("%s: empty, want a picture (PNG, JPEG, GIF, BMP, TIFF or WebP)", name)
	case errors.Is(err, image.ErrFormat):
		return u, fmt.Errorf("%s: not a picture (PNG, JPEG, GIF, BMP, TIFF or WebP expected)", name)
	case err != nil:
		return u, unreadable(name, format, err)
	case header.Width < 1 || header.Height < 1:
		return u, fmt.Errorf("%s: %s picture of %d×%d pixels, want at least one", name, strings.ToUpper(format), header.Width, header.Height)
	case header.Width > MaxPixels/header.Height:
		return u, fmt.Errorf("%s is %d×%d, more than %d megapixels: make it smaller first", name, header.Width, header.Height, MaxPixels/1_000_000)
	}
	if header.Width > MaxSide || header.Height > MaxSide {
		return u, fmt.Errorf("%s is %d×%d, a side of more than %d pixels: cut it first", name, header.Width, header.Height, MaxSide)
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
		err = errors.New("cut short")
	}
	if format == "" {
		return fmt.Errorf("%s: damaged picture: %w", name, err)
	}
	return fmt.Errorf("%s: damaged or unsupported %s picture: %w", name, strings.ToUpper(format), err)
}
