package checkpoint

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// DType is a tensor's stored number type, by its safetensors name.
type DType string

// The stored types. [File.Floats] reads F64, F32, F16, BF16, and I8 with a scale, [File.Ints] the
// integers and BOOL; the others can be listed only.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U8   DType = "U8"
	BOOL DType = "BOOL"
)

// itemSize is the size of one value in bytes, of every type that a file may hold.
var itemSize = map[DType]int64{
	F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1,
	"U64": 8, "U32": 4, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
}

// A decoder converts dst's length of little-endian values.
type decoder[T any] func(dst []T, src []byte)

var le = binary.LittleEndian

var float32Decoders = map[DType]decoder[float32]{
	F64: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(src[8*i:])))
		}
	},
	F32: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
		}
	},
	F16: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = fromHalf(le.Uint16(src[2*i:]))
		}
	},
	BF16: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16)
		}
	},
}

var float64Decoders = map[DType]decoder[float64]{
	F64: func(dst []float64, src []byte) {
		for i := range dst {
			dst[i] = math.Float64frombits(le.Uint64(src[8*i:]))
		}
	},
	F32: func(dst []float64, src []byte) {
		for i := range dst {
			dst[i] = float64(math.Float32frombits(le.Uint32(src[4*i:])))
		}
	},
}

var intDecoders = map[DType]decoder[int64]{
	I64: func(dst []int64, src []byte) {
		for i := range dst {
			dst[i] = int64(le.Uint64(src[8*i:]))
		}
	},
	I32: func(dst []int64, src []byte) {
		for i := range dst {
			dst[i] = int64(int32(le.Uint32(src[4*i:])))
		}
	},
	I16: func(dst []int64, src []byte) {
		for i := range dst {
			dst[i] = int64(int16(le.Uint16(src[2*i:])))
		}
	},
	I8: func(dst []int64, src []byte) {
		for i := range dst {
			dst[i] = int64(int8(src[i]))
		}
	},
	U8: func(dst []int64, src []byte) {
		for i := range dst {
			dst[i] = int64(src[i])
		}
	},
	BOOL: func(dst []int64, src []byte) {
		for i := range dst {
			dst[i] = int64(min(src[i], 1))
		}
	},
}

// Floats returns the values of an F32, F16, BF16 or F64 tensor, or of an I8 tensor with a scale, as float32 in
// row-major order. The tensor must have the given shape; without one, any is taken.
// A missing tensor, another shape or type, or a value that is not finite is an error.
func (f *File) Floats(name string, shape ...int) ([]float32, error) {
	if e := f.tensors[name]; e.scale != nil {
		return f.scaled(e, shape)
	}
	return load(f, name, shape, float32Decoders)
}

// scaled returns the values of 8-bit weights: each is its integer times the scale of its index in the outermost dimension.
func (f *File) scaled(e entry, shape []int) ([]float32, error) {
	out, err := load(f, e.Name, shape, map[DType]decoder[float32]{I8: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = float32(int8(src[i]))
		}
	}})
	if err != nil {
		return nil, err
	}
	scale := make([]float32, e.scale.Len())
	if err := stream(f, scale, *e.scale, float32Decoders[e.scale.DType]); err != nil {
		return nil, fmt.Errorf("checkpoint %s: tensor %.300q: %w", f.name, e.scale.Name, err)
	}
	for i, s := range scale {
		if s-s != 0 {
			return nil, fmt.Errorf("checkpoint %s: tensor %.300q: value %d is %v, wanted a finite number", f.name, e.scale.Name, i, s)
		}
		row := out[i*len(out)/len(scale) : (i+1)*len(out)/len(scale)]
		for j := range row {
			row[j] *= s
		}
	}
	return out, nil
}

// Float64s returns the values of an F64 or F32 tensor without rounding; otherwise
// it is like Floats.
func (f *File) Float64s(name string, shape ...int) ([]float64, error) {
	return load(f, name, shape, float64Decoders)
}

// Ints returns the values of an I64, I32, I16, I8, U8 or BOOL tensor; otherwise it
// is like Floats.
func (f *File) Ints(name string, shape ...int) ([]int64, error) {
	return load(f, name, shape, intDecoders)
}

// load finds a tensor, checks its shape and type, decodes its values and checks that
// they are finite.
func load[T float32 | float64 | int64](f *File, name string, shape []int, decoders map[DType]decoder[T]) ([]T, error) {
	e, err := f.find(name, shape)
	if err != nil {
		return nil, short(err)
	}
	decode, ok := decoders[e.DType]
	if !ok {
		return nil, short(fmt.Errorf("checkpoint %s: tensor %q is %s, wanted one of %v", f.name, name, e.DType, slices.Sorted(maps.Keys(decoders))))
	}
	out := make([]T, e.Len())
	if e.strides == nil {
		err = stream(f, out, e, decode)
	} else {
		span := make([]T, e.span)
		err = stream(f, span, e, decode)
		gather(out, span, e.Shape, e.strides)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: tensor %.300q: %w", f.name, name, err)
	}
	if bad := slices.IndexFunc(out, func(v T) bool { return v-v != 0 }); bad >= 0 {
		return nil, fmt.Errorf("checkpoint %s: tensor %.300q: value %d is %v, wanted a finite number", f.name, name, bad, out[bad])
	}
	return out, nil
}

// find returns the tensor of that name if it has the wanted shape.
func (f *File) find(name string, shape []int) (entry, error) {
	e, ok := f.tensors[name]
	if !ok {
		hint := ""
		if near, ok := nearest(name, f.names); ok {
			hint = fmt.Sprintf("; the nearest name is %q %v", near, f.tensors[near].Shape)
		}
		wanted := ""
		if len(shape) > 0 {
			wanted = fmt.Sprintf(", wanted with shape %v", shape)
		}
		return e, fmt.Errorf("checkpoint %s: no tensor %q%s%s", f.name, name, wanted, hint)
	}
	if len(shape) > 0 && !slices.Equal(shape, e.Shape) {
		return e, fmt.Errorf("checkpoint %s: tensor %q has shape %v, wanted %v", f.name, name, e.Shape, shape)
	}
	return e, nil
}

// nearest returns the name that shares the longest start and end with the wanted one, if
// they make up half of it: it finds misspellings and names with a prefix too many.
func nearest(want string, names []string) (string, bool) {
	best, shared := "", len(want)/2
	for _, name := range names {
		most := min(len(name), len(want))
		n := 0
		for n < most && name[n] == want[n] {
			n++
		}
		for k := 1; n < most && name[len(name)-k] == want[len(want)-k]; k++ {
			n++
		}
		if n > shared {
			best, shared = name, n
		}
	}
	return best, best != ""
}

// stream decodes len(dst) consecutive values from e.at on, a piece at a time.
func stream[T any](f *File, dst []T, e entry, decode decoder[T]) error {
	const piece = 1 << 15 // values
	size := int(itemSize[e.DType])
	buf := make([]byte, size*min(piece, len(dst)))
	for at := e.at; len(dst) > 0; at += int64(len(buf)) {
		n := min(piece, len(dst))
		buf = buf[:n*size]
		if err := f.readAt(buf, at); err != nil {
			return err
		}
		decode(dst[:n], buf)
		dst = dst[n:]
	}
	return nil
}

// gather copies a strided view of src into dense row-major dst.
func gather[T any](dst, src []T, shape, strides []int) {
	index := make([]int, len(shape))
	at := 0
	for i := range dst {
		dst[i] = src[at]
		for d := len(shape) - 1; d >= 0; d-- {
			index[d]++
			at += strides[d]
			if index[d] < shape[d] {
				break
			}
			at -= index[d] * strides[d]
			index[d] = 0
		}
	}
}
