package picture

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"io"
)

// orientation returns the EXIF orientation, 1 … 8, of a JPEG, PNG, WebP or TIFF file; 1, as
// stored, where it says nothing that can be understood.
func orientation(r io.ReaderAt, format string) int {
	switch format {
	case "jpeg":
		return jpegOrientation(r)
	case "png":
		return chunkOrientation(r, 8, "eXIf", func(head []byte) (kind string, size, skip int64) {
			return string(head[4:]), int64(binary.BigEndian.Uint32(head)), 4 // a check sum follows
		})
	case "webp":
		return chunkOrientation(r, 12, "EXIF", func(head []byte) (kind string, size, skip int64) {
			size = int64(binary.LittleEndian.Uint32(head[4:]))
			return string(head[:4]), size, size % 2
		})
	case "tiff":
		return tiffOrientation(r)
	}
	return 1
}

// mostSegments bounds the segments or chunks that are looked at.
const mostSegments = 100_000

// jpegSegments calls f with the marker and the place of each of a JPEG's segments up to the
// first scan, until f returns true.
func jpegSegments(r io.ReaderAt, f func(marker byte, at, size int64) bool) {
	const startOfScan, fill = 0xda, 0xff
	var head [4]byte
	at := int64(2)
	for range mostSegments {
		if _, err := r.ReadAt(head[:], at); err != nil || head[0] != 0xff || head[1] == startOfScan {
			break
		}
		if head[1] == fill { // bytes of 0xff may stand before a marker
			at++
			continue
		}
		size := int64(binary.BigEndian.Uint16(head[2:])) // includes its own two bytes
		if f(head[1], at+4, size-2) {
			break
		}
		at += 2 + size
	}
}

// jpegOrientation reads the EXIF block of a JPEG.
func jpegOrientation(r io.ReaderAt) int {
	const app1 = 0xe1
	o := 0
	jpegSegments(r, func(marker byte, at, size int64) bool {
		if marker == app1 {
			o = exifOrientation(io.NewSectionReader(r, at, size))
		}
		return o != 0
	})
	return max(o, 1)
}

// progressive says whether a JPEG comes in several scans.
func progressive(r io.ReaderAt) (found bool) {
	const startOfProgressiveFrame = 0xc2
	jpegSegments(r, func(marker byte, _, _ int64) bool {
		found = marker == startOfProgressiveFrame
		return found
	})
	return found
}

// chunkOrientation walks the chunks of a file from byte at on, each with a head of 8 bytes.
func chunkOrientation(r io.ReaderAt, at int64, want string, parse func(head []byte) (kind string, size, skip int64)) int {
	var head [8]byte
	for range mostSegments {
		if _, err := r.ReadAt(head[:], at); err != nil {
			break
		}
		kind, size, skip := parse(head[:])
		if kind == want {
			if o := exifOrientation(io.NewSectionReader(r, at+8, size)); o != 0 {
				return o
			}
		}
		at += 8 + size + skip
	}
	return 1
}

// exifOrientation reads an EXIF block, with or without the prefix that JPEG has; 0 for
// another kind of block.
func exifOrientation(r *io.SectionReader) int {
	prefix := []byte("Exif\x00\x00")
	head := make([]byte, len(prefix))
	if _, err := r.ReadAt(head, 0); err != nil {
		return 0
	}
	switch {
	case bytes.Equal(head, prefix):
		return tiffOrientation(io.NewSectionReader(r, 6, r.Size()-6))
	case string(head[:2]) == "II" || string(head[:2]) == "MM":
		return tiffOrientation(r)
	}
	return 0
}

// tiffOrientation reads tag 0x0112 of the first directory (TIFF 6.0, section 2).
func tiffOrientation(r io.ReaderAt) int {
	var head [8]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if head[0] == 'I' {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(head[4:])) // of the directory
	if _, err := r.ReadAt(head[:2], at); err != nil {
		return 1
	}
	var entry [12]byte
	for k := range int64(order.Uint16(head[:])) {
		if _, err := r.ReadAt(entry[:], at+2+12*k); err != nil {
			break
		}
		if v := int(order.Uint16(entry[8:])); order.Uint16(entry[:]) == 0x0112 && 1 <= v && v <= 8 {
			return v
		}
	}
	return 1
}

// upright shows a picture as it is meant: turned by its EXIF orientation, its transparency
// laid on white.
type upright struct {
	src         image.Image
	orientation int
}

func (u upright) ColorModel() color.Model { return color.RGBA64Model }

func (u upright) Bounds() image.Rectangle {
	if b := u.src.Bounds(); u.orientation < 5 {
		return image.Rect(0, 0, b.Dx(), b.Dy())
	} else { // mirrored on the diagonal
		return image.Rect(0, 0, b.Dy(), b.Dx())
	}
}

func (u upright) At(x, y int) color.Color { return u.RGBA64At(x, y) }

func (u upright) RGBA64At(x, y int) (c color.RGBA64) {
	b := u.src.Bounds()
	if u.orientation >= 5 {
		x, y = y, x
	}
	switch u.orientation {
	case 2, 3, 7, 8:
		x = b.Dx() - 1 - x
	}
	switch u.orientation {
	case 3, 4, 6, 7:
		y = b.Dy() - 1 - y
	}
	if deep, ok := u.src.(image.RGBA64Image); ok {
		c = deep.RGBA64At(b.Min.X+x, b.Min.Y+y) // does not allocate, unlike At
	} else {
		c = color.RGBA64Model.Convert(u.src.At(b.Min.X+x, b.Min.Y+y)).(color.RGBA64)
	}
	white := 0xffff - c.A // colours are premultiplied, so the rest is white
	return color.RGBA64{R: c.R + white, G: c.G + white, B: c.B + white, A: 0xffff}
}
