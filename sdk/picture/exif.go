package picture

import (
	"bytes"
	"encoding/binary"
)

// orientation returns the EXIF orientation, 1 … 8, of a JPEG file's beginning; 1, as
// stored, where it says nothing that can be understood.
func orientation(jpeg []byte) int {
	const app1, startOfScan = 0xe1, 0xda
	for at := 2; at+4 <= len(jpeg) && jpeg[at] == 0xff && jpeg[at+1] != startOfScan; {
		size := int(binary.BigEndian.Uint16(jpeg[at+2:])) // includes its own two bytes
		body := jpeg[at+4 : max(at+4, min(at+2+size, len(jpeg)))]
		if tiff, ok := bytes.CutPrefix(body, []byte("Exif\x00\x00")); ok && jpeg[at+1] == app1 {
			return tiffOrientation(tiff)
		}
		at += 2 + size
	}
	return 1
}

// tiffOrientation reads tag 0x0112 of the first directory (TIFF 6.0, section 2).
func tiffOrientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(tiff[4:])) // of the directory
	if at+2 > int64(len(tiff)) {
		return 1
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			break
		}
		if v := int(order.Uint16(entries[8:])); order.Uint16(entries) == 0x0112 && 1 <= v && v <= 8 {
			return v
		}
		entries = entries[12:]
	}
	return 1
}

// orient turns an image as stored into one as meant.
func (m Image) orient(orientation int) Image {
	if orientation == 1 {
		return m
	}
	out := m
	if orientation >= 5 { // mirrored on the diagonal
		out.H, out.W = m.W, m.H
	}
	out.Pix = make([]float32, len(m.Pix))
	for i := range out.Pix {
		x, y := i%out.W, i/out.W%out.H
		if orientation >= 5 {
			x, y = y, x
		}
		switch orientation {
		case 2, 3, 7, 8:
			x = m.W - 1 - x
		}
		switch orientation {
		case 3, 4, 6, 7:
			y = m.H - 1 - y
		}
		out.Pix[i] = m.Pix[(i/(m.H*m.W)*m.H+y)*m.W+x]
	}
	return out
}
