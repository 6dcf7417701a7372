package picture_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Lossy WebP files of 14×11 pixels and what libwebp 1.6 makes of them: luma is 16 to 235.
var lossyWebP = map[string]struct{ file, pixels string }{
	"rgb": {
		"UklGRl4AAABXRUJQVlA4IFIAAAAwAgCdASoOAAsAAUAmJbACdHMBLgAGc4unUAD+/APrq2YsqMwRN7L5xiL9/6WAQJjzu9b/eoEzwG6/rHTFnA/3u7j//yNAOZf/tCK9IZlUjAAA",
		"DAPuFQPrJATlNAPZSQXSWgPGaQTBeAO1jgaqnwSasgSRwQOF1wiC3QZ8EhLtGRTpJxTgOBPYTxXPXhPFbRW9fROykhaooxSbthSRxhKF3BeD4xV9FCvgHS3eKy7VOizMUS7CYCy5cC2xfyunlS2ipS" +
			"uWuCyLySl/3y985i12EEHVGkPSKUPKOEHATUS3XkGtbkOlfUGckkOVo0GJtkF9xUBx20Vv4kNpC1fNFFjJIljBMVa3SFiuV1akZ1iddlaRj12JoFt5s1twxFlk2l5h4FxbCGzAEG6+Hm61L2urRm2i" +
			"VWyYZW2RdGuFjXJ7nnFssXFiwW9W13RU3nJNDIa1E4exIYepM4WgSoeXWYWNaYeGeIV8kYt2oolptYpdxYhR24xR4opKC5qnEpumIZudMpqUSZyLWJqCaJt6d5lwkKBroZ5dtJ5RxZxG26FF4Z8/Cq" +
			"6gFLCdI6+XMq6LSa+EWa14aa5yeK1njbJdnrBPs7BDwq442LM13rEvEcWdGMaZJ8aSOcWIUMaBX8V1b8ZvfsVik8pYo8hKuMg+ycUz38sw5cgqFNaXHNmUK9iOO9aCUth5YdZvcdhogNZcldtSptpC" +
			"u9k5y9ct4dwq6Nok",
	},
	"rgba": {
		"UklGRowAAABXRUJQVlA4WAoAAAAQAAAADQAACgAAQUxQSBMAAAABD/Co/4iIIBBI0FIbf4SI/kceAFZQOCBSAAAAMAIAnQEqDgALAAFAJiWwAnRzAS4ABnOLp1AA/vwD66tmLKjMETey+cYi/f+ozP" +
			"GE87vW/3qBM8Buv6x0xZwP97u4//8jQDmX/7X+vSGZVIwAAA==",
		"DAL0/xUC8f8kA+v/NALf/0kF1v9aAsv/aQPF/3gCt1COBqpQnwSaULIEkVDBA4VQ1wiCUN0GfFASEfP/GRLv/ycT5v84Et7/TxTV/14Syf9tFMH/fRK2UJIWqlCjFJtQthSRUMYShVDcF4NQ4xV9UB" +
			"Qq5/8dLOT/Kyzb/zor0v9RLcj/YCu9/3Astf9/K6tQlS2iUKUrllC4LItQySl/UN8vfFDmLXZQEEDb/xpC2P8pQtD/OEDG/01Dvf9eQLH/bkKp/31AoFCSQ5dQo0GJULZBfVDFQHFQ20VvUOJDaVAL" +
			"VtP/FFfP/yJXx/8xVb3/SFe0/1dVqP9nV6H/dlaTUI9diVCgW3lQs1twUMRZZFDaXmFQ4FxbUAhqxv8QbcT/Hm27/y9qsf9GbKj/VWuc/2Vslf90a4dQjXJ9UJ5xbFCxcWJQwW9WUNd0VFDeck1QDI" +
			"S7/xOFt/8hhq//M4Sm/0qGnf9ZhZH/aYaK/3iFflCRi3ZQoolpULWKXVDFiFFQ24xRUOKKSlAJmq3/Epqq/yGaof8xmpn/SJyP/1iahP9omn7/d5lyUJCga1Chnl1QtJ5RUMWcRlDboUVQ4Z8/UAmv" +
			"ov8RsZ//H7GX/zCujf9GsYT/Vq56/2awcv91rmdQjbJdUJ6wT1CzsENQwq44UNizNVDesS9QDsad/xXImf8kx5L/NMeI/0vJgf9ax3X/ashv/3vGYlCTylhQo8hKULjIPlDJxTNQ38swUOXIKlAR2J" +
			"f/GdqU/yjajv832YL/Ttt5/13Zb/9s2mj/fdhcUJXbUlCm2kJQu9k5UMvXLVDh3CpQ6NokUA==",
	},
}

// Lossy WebP is decoded to two levels of what libwebp gives, and lies on white where it is
// transparent.
func TestLossyWebP(t *testing.T) {
	for name, c := range lossyWebP {
		file, err := base64.StdEncoding.DecodeString(c.file)
		require.NoError(t, err)
		want, err := base64.StdEncoding.DecodeString(c.pixels)
		require.NoError(t, err)
		m, err := picture.Decode(bytes.NewReader(file), name)
		require.NoError(t, err)
		require.Equal(t, [2]int{11, 14}, [2]int{m.H, m.W})
		channels := len(want) / (14 * 11)
		for i := range 14 * 11 {
			alpha := 255.
			if channels == 4 {
				alpha = float64(want[4*i+3])
			}
			for k := range 3 {
				level := float64(want[channels*i+k])*alpha/255 + 255 - alpha
				assert.InDelta(t, level, (m.Pix[k*14*11+i]+1)*127.5, 2.01, "%s, pixel %d, channel %d", name, i, k)
			}
		}
	}
}

// block is an EXIF block of that orientation.
func block(orientation uint16) []byte {
	b := append([]byte("II*\x00"), 8, 0, 0, 0, 1, 0) // a directory at byte 8, of one entry
	b = binary.LittleEndian.AppendUint16(append(b, 0x12, 0x01, 3, 0, 1, 0, 0, 0), orientation)
	return append(b, 0, 0, 0, 0, 0, 0)
}

// EXIF's orientation is honoured in PNG, before and behind the pixels, in WebP, in TIFF,
// and in a JPEG with fill bytes before the marker.
func TestOrientationOfEveryFormat(t *testing.T) {
	all := files(t)
	const r, g, b, w = "100", "010", "001", "111"
	check := func(name string, file []byte) {
		m, err := picture.Decode(bytes.NewReader(file), name)
		require.NoError(t, err, name)
		assert.Equal(t, [4]string{b, r, w, g}, corners(m), name)
	}
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(block(6))))
	chunk = append(append(chunk, "eXIf"...), block(6)...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	plain := all["a.png"]
	check("early.png", slices.Concat(plain[:33], chunk, plain[33:]))
	check("late.png", slices.Concat(plain[:len(plain)-12], chunk, plain[len(plain)-12:]))
	check("fill.jpg", bytes.Replace(exif(all["a.jpg"], binary.LittleEndian, "II", 6), []byte{0xff, 0xe1}, []byte{0xff, 0xff, 0xff, 0xe1}, 1))

	// TIFF: the directory once more at the end, with another entry.
	old := all["a.tiff"]
	at := binary.LittleEndian.Uint32(old[4:])
	n := int(binary.LittleEndian.Uint16(old[at:]))
	entries := slices.Clone(old[at+2 : int(at)+2+12*n])
	place := 0
	for place < len(entries) && binary.LittleEndian.Uint16(entries[place:]) < 0x0112 {
		place += 12
	}
	entries = slices.Insert(entries, place, block(6)[10:22]...)
	turned := append(slices.Clone(old), 0, 0)[:len(old)+len(old)%2]
	binary.LittleEndian.PutUint32(turned[4:], uint32(len(turned)))
	turned = binary.LittleEndian.AppendUint16(turned, uint16(n+1))
	check("a.tiff", append(append(turned, entries...), 0, 0, 0, 0))

	file, err := base64.StdEncoding.DecodeString(lossyWebP["rgb"].file)
	require.NoError(t, err)
	extra := append([]byte("EXIF"), binary.LittleEndian.AppendUint32(nil, uint32(len(block(6))))...)
	turned = slices.Concat(file, extra, block(6))
	binary.LittleEndian.PutUint32(turned[4:], uint32(len(turned)-8))
	m, err := picture.Decode(bytes.NewReader(turned), "a.webp")
	require.NoError(t, err)
	assert.Equal(t, [2]int{14, 11}, [2]int{m.H, m.W}, "turned by a quarter")
}

// Blocks that are cut, empty or point elsewhere leave the picture as it is stored.
func TestDamagedEXIF(t *testing.T) {
	plain := files(t)["a.png"]
	for n := range len(block(6)) {
		for _, fill := range []byte{0, 0xff} {
			bad := append(block(6)[:n], bytes.Repeat([]byte{fill}, 8)...)
			chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(bad))), "eXIf"...)
			chunk = append(chunk, bad...)
			chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
			m, err := picture.Decode(bytes.NewReader(slices.Concat(plain[:33], chunk, plain[33:])), "a.png")
			require.NoError(t, err)
			if n < 19 {
				assert.Equal(t, upright, corners(m), "%d bytes, then %d", n, fill)
			}
		}
	}
}

// A large picture is scaled as it is decoded, to the same values as from its own values,
// without a float for each of its pixels.
func TestDecodeFit(t *testing.T) {
	for name, file := range files(t) {
		m, err := picture.Decode(bytes.NewReader(file), name)
		require.NoError(t, err)
		for _, mode := range []picture.Mode{picture.Resize, picture.Crop} {
			want, err := picture.Fit(m, 5, 7, mode)
			require.NoError(t, err)
			got, err := picture.DecodeFit(bytes.NewReader(file), name, 5, 7, mode)
			require.NoError(t, err)
			assert.Equal(t, want, got, "%s, mode %d", name, mode)
		}
		_, err = picture.DecodeFit(bytes.NewReader(file), name, 5, 7, picture.Exact)
		assert.EqualError(t, err, name+" is 16×12, the prior wants 7×5: pass --resize or --crop")
	}
	var large bytes.Buffer
	require.NoError(t, png.Encode(&large, image.NewGray(image.Rect(0, 0, 8000, 8000))))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := picture.DecodeFit(&large, "large.png", 64, 64, picture.Crop)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(160<<20), "of 64 million pixels")
}
