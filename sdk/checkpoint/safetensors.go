package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Limits of a header. A checkpoint's takes about 100 bytes a tensor; the format would allow
// 100 MB.
const (
	maxHeader  = 16 << 20 // bytes
	maxTensors = 1 << 16
	// maxMetadata bounds the texts of a header; training scripts write some dozens.
	maxMetadata = 1 << 12
	maxDims     = 16
)

// byteRange is the range of a tensor's bytes in the buffer that follows the header.
type byteRange struct {
	name       string
	begin, end int64
}

// parseSafetensors reads the table of tensors: 8 bytes of header length, the header
// (one JSON object) and the buffer. It is stricter than encoding/json alone: a name
// may occur once, and the ranges must cover the buffer without a hole or an overlap.
func (f *File) parseSafetensors() error {
	var length [8]byte
	if err := f.readAt(length[:], 0); err != nil {
		return err
	}
	n := le.Uint64(length[:])
	if limit := uint64(min(maxHeader, f.size-8)); n > limit {
		return fmt.Errorf("safetensors header of %d bytes, at most %d are possible in a file of %d", n, limit, f.size)
	}
	header := make([]byte, n)
	if err := f.readAt(header, 8); err != nil {
		return err
	}
	if !utf8.Valid(header) || !json.Valid(header) {
		return errors.New("safetensors header is not a JSON object in UTF-8")
	}
	h := headerReader{json.NewDecoder(bytes.NewReader(header))}
	h.dec.UseNumber()
	var spans []byteRange
	err := h.object(func(name string) error {
		if name == "__metadata__" {
			return h.object(func(key string) (err error) {
				if len(f.metadata) == maxMetadata {
					return fmt.Errorf("more than %d texts in __metadata__", maxMetadata)
				}
				f.metadata[key], err = h.text()
				return err
			})
		}
		s, err := f.tensorInfo(h, name, 8+int64(n))
		if spans = append(spans, s); len(spans) > maxTensors {
			return fmt.Errorf("more than %d tensors", maxTensors)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("safetensors header: %w", err)
	}
	if err := covered(spans, f.size, 8+int64(n)); err != nil {
		return err
	}
	return f.joinScales()
}

// scaleSuffix is what the name of an I8 tensor's scale has more, as compressed-tensors writes it.
const scaleSuffix = "_scale"

// joinScales gives 8-bit weights their scale: the I8 tensor NAME beside an F32 or F16 tensor NAME_scale, which is no tensor of
// its own then. A scale has one value for each index of the outermost dimension, in the shape [d] or [d, 1].
func (f *File) joinScales() error {
	for name, e := range f.tensors {
		scale, ok := f.tensors[name+scaleSuffix]
		if e.DType != I8 || !ok {
			continue
		}
		rows := 1
		if len(e.Shape) > 0 {
			rows = e.Shape[0]
		}
		if scale.Len() != rows || (scale.DType != F32 && scale.DType != F16) {
			return fmt.Errorf("tensor %q: %s of shape %v, wanted F32 or F16 with %d values, one for each output of %q, which has shape %v", scale.Name, scale.DType, scale.Shape, rows, name, e.Shape)
		}
		e.scale = &scale
		f.tensors[name] = e
		delete(f.tensors, scale.Name)
	}
	f.names = slices.DeleteFunc(f.names, func(name string) bool { _, is := f.tensors[name]; return !is })
	return nil
}

// tensorInfo reads one tensor's dtype, shape and data_offsets; the buffer starts at
// byte base of the file.
func (f *File) tensorInfo(h headerReader, name string, base int64) (s byteRange, err error) {
	var dtype string
	var shape, offsets []int64
	fields := 0
	err = h.object(func(key string) (err error) {
		fields++
		switch key {
		case "dtype":
			dtype, err = h.text()
		case "shape":
			shape, err = h.counts()
		case "data_offsets":
			offsets, err = h.counts()
		default:
			err = fmt.Errorf("unknown field %q", key)
		}
		return err
	})
	if err == nil && (fields != 3 || len(offsets) != 2) {
		err = errors.New("wanted dtype, shape and two data_offsets")
	}
	if err != nil {
		return s, fmt.Errorf("tensor %q: %w", name, err)
	}
	size, ok := itemSize[DType(dtype)]
	if !ok {
		return s, fmt.Errorf("tensor %q: unknown dtype %q", name, dtype)
	}
	dims, bytes, ok := byteCount(shape, size)
	s = byteRange{name, offsets[0], offsets[1]}
	if !ok || s.begin > s.end || bytes != s.end-s.begin {
		return s, fmt.Errorf("tensor %q: %s of shape %v does not fill its bytes %d to %d", name, dtype, shape, s.begin, s.end)
	}
	return s, f.add(entry{Tensor: Tensor{Name: name, DType: DType(dtype), Shape: dims}, at: base + s.begin})
}

// byteCount multiplies a shape out; false where it overflows.
func byteCount(shape []int64, size int64) (dims []int, bytes int64, ok bool) {
	dims = make([]int, len(shape))
	bytes = size
	if slices.Contains(shape, 0) {
		bytes = 0
	}
	for i, d := range shape {
		if d > math.MaxInt || (bytes > 0 && d > math.MaxInt/bytes) {
			return nil, 0, false
		}
		dims[i] = int(d)
		bytes *= d
	}
	return dims, bytes, true
}

// covered checks that the ranges tile the buffer, from byte base of the file to its end.
func covered(spans []byteRange, size, base int64) error {
	slices.SortFunc(spans, func(a, b byteRange) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := int64(0)
	for _, s := range spans {
		if s.begin != at {
			return fmt.Errorf("tensor %q lies at bytes %d to %d of the buffer, wanted it to begin at %d", s.name, s.begin, s.end, at)
		}
		at = s.end
	}
	switch buffer := size - base; {
	case at > buffer:
		return fmt.Errorf("the file is cut off: it has %d bytes, its tensors need %d more; copy or download it again", size, at-buffer)
	case at < buffer:
		return fmt.Errorf("tensors end at byte %d, the file's buffer at %d: bytes to spare", at, buffer)
	}
	return nil
}

// headerReader walks a header token by token, as only tokens show that a key is repeated.
type headerReader struct{ dec *json.Decoder }

// object calls field for each key of an object, which must read the key's value.
func (h headerReader) object(field func(key string) error) error {
	if err := h.delimiter('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for h.dec.More() {
		key, err := h.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%q occurs twice", key)
		}
		seen[key] = true
		if err := field(key); err != nil {
			return err
		}
	}
	return h.delimiter('}')
}

// counts reads an array of integers ≥ 0.
func (h headerReader) counts() ([]int64, error) {
	if err := h.delimiter('['); err != nil {
		return nil, err
	}
	var out []int64
	for h.dec.More() {
		token, err := h.dec.Token()
		if err != nil {
			return nil, err
		}
		number, _ := token.(json.Number)
		n, err := strconv.ParseUint(number.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%v where a count was wanted", token)
		}
		if out = append(out, int64(n)); len(out) > maxDims {
			return nil, fmt.Errorf("more than %d numbers where a shape or a range was wanted", maxDims)
		}
	}
	return out, h.delimiter(']')
}

func (h headerReader) delimiter(want json.Delim) error {
	token, err := h.dec.Token()
	if err == nil && token != want {
		err = fmt.Errorf("%v where %v was wanted", token, want)
	}
	return noEOF(err)
}

func (h headerReader) text() (string, error) {
	token, err := h.dec.Token()
	text, ok := token.(string)
	if err == nil && !ok {
		err = fmt.Errorf("%v where a string was wanted", token)
	}
	return text, noEOF(err)
}

// noEOF makes the end of the input an error like any other.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
