package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// Content is a tensor to write: its description and its values in row-major order.
type Content struct {
	Tensor           // DType F32, F16, I64 or I8
	Floats []float32 // the values of an F32 or F16 tensor; F16 rounds to nearest even
	Ints   []int64   // the values of an I64 or I8 tensor
}

// Quantize returns 8-bit weights: the tensor as I8, and its scale, which [File.Floats] multiplies again. Each index of the outermost
// dimension has one scale, its largest absolute value over 127 rounded to F16, and values round to the nearest even multiple of it.
// Where all values of an index are 0, or so small that the scale is, its scale and integers are 0.
func Quantize(t Tensor, values []float32) (weights, scale Content, err error) {
	if len(t.Shape) == 0 || t.Shape[0] == 0 || t.Len() != len(values) {
		return weights, scale, fmt.Errorf("tensor %q: shape %v for %d values, wanted one dimension or more, none of them 0", t.Name, t.Shape, len(values))
	}
	rows := t.Shape[0]
	weights = Content{Tensor: Tensor{t.Name, I8, t.Shape}, Ints: make([]int64, len(values))}
	scale = Content{Tensor: Tensor{t.Name + scaleSuffix, F16, []int{rows, 1}}, Floats: make([]float32, rows)}
	n := len(values) / rows
	for r := range rows {
		top := 0.0
		for _, v := range values[r*n : (r+1)*n] {
			top = max(top, math.Abs(float64(v)))
		}
		half, ok := toHalf(float32(top / 127))
		if !ok {
			return weights, scale, fmt.Errorf("tensor %q: the scale of output %d is %v, which does not fit F16", t.Name, r, top/127)
		}
		s := float64(fromHalf(half))
		scale.Floats[r] = float32(s)
		for i, v := range values[r*n : (r+1)*n] {
			if s > 0 {
				weights.Ints[r*n+i] = int64(max(-127, min(127, math.RoundToEven(float64(v)/s))))
			}
		}
	}
	return weights, scale, nil
}

// WriteSafetensors writes tensors, in the order given but wider types first as their
// alignment wants, and metadata (may be nil). The bytes depend on the arguments
// alone. A value that is not finite, or too large for F16, is an error.
func WriteSafetensors(w io.Writer, tensors []Content, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortStableFunc(tensors, func(a, b Content) int { return int(itemSize[b.DType] - itemSize[a.DType]) })
	header, err := safetensorsHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	out := bufio.NewWriter(w)
	out.Write(le.AppendUint64(nil, uint64(len(header)))) // errors stay with out until Flush
	out.Write(header)
	var value []byte
	for _, t := range tensors {
		for i := range t.Len() {
			if value, err = t.append(value[:0], i); err != nil {
				return fmt.Errorf("safetensors: tensor %q: value %d: %w", t.Name, i, err)
			}
			out.Write(value)
		}
	}
	return out.Flush()
}

// safetensorsHeader returns the JSON table, padded with blanks so that the buffer is
// aligned to 8 bytes.
func safetensorsHeader(tensors []Content, metadata map[string]string) ([]byte, error) {
	var out bytes.Buffer
	field := func(key string, value any) error {
		separator := byte(',')
		if out.Len() == 0 {
			separator = '{'
		}
		out.WriteByte(separator)
		k, err := json.Marshal(key)
		if err != nil {
			return err
		}
		v, err := json.Marshal(value)
		fmt.Fprintf(&out, "%s:%s", k, v)
		return err
	}
	if len(metadata) > 0 {
		if err := field("__metadata__", metadata); err != nil {
			return nil, err
		}
	}
	at := int64(0)
	seen := map[string]bool{"__metadata__": true}
	for _, t := range tensors {
		if err := t.check(seen); err != nil {
			return nil, err
		}
		seen[t.Name] = true
		end := at + int64(t.Len())*itemSize[t.DType]
		err := field(t.Name, struct {
			DType   DType    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]int64{at, end}})
		if err != nil {
			return nil, err
		}
		at = end
	}
	if out.Len() == 0 {
		out.WriteByte('{')
	}
	out.WriteByte('}')
	for out.Len()%8 != 0 {
		out.WriteByte(' ')
	}
	return out.Bytes(), nil
}

// check says what is wrong with a tensor to write.
func (t Content) check(seen map[string]bool) error {
	values := len(t.Floats)
	switch t.DType {
	case F32, F16:
	case I64, I8:
		values = len(t.Ints)
	default:
		return fmt.Errorf("tensor %q: type %q can not be written, use F32, F16, I64 or I8", t.Name, t.DType)
	}
	if seen[t.Name] {
		return fmt.Errorf("tensor name %q is taken", t.Name)
	}
	if slices.ContainsFunc(t.Shape, func(d int) bool { return d < 0 }) || t.Len() != values {
		return fmt.Errorf("tensor %q: shape %v does not hold %d values", t.Name, t.Shape, values)
	}
	return nil
}

// append appends the bytes of value i.
func (t Content) append(to []byte, i int) ([]byte, error) {
	switch t.DType {
	case I64:
		return le.AppendUint64(to, uint64(t.Ints[i])), nil
	case I8:
		if v := t.Ints[i]; v != int64(int8(v)) {
			return nil, fmt.Errorf("%d does not fit I8", v)
		}
		return append(to, byte(t.Ints[i])), nil
	}
	v := t.Floats[i]
	if v-v != 0 {
		return nil, fmt.Errorf("%v is not a finite number", v)
	}
	if t.DType == F32 {
		return le.AppendUint32(to, math.Float32bits(v)), nil
	}
	h, ok := toHalf(v)
	if !ok {
		return nil, fmt.Errorf("%v does not fit F16, whose largest number is 65504", v)
	}
	return le.AppendUint16(to, h), nil
}
