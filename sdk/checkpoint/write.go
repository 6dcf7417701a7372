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
	Tensor           // DType F32, F16 or I64
	Floats []float32 // the values of an F32 or F16 tensor; F16 rounds to nearest even
	Ints   []int64   // the values of an I64 tensor
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
	case I64:
		values = len(t.Ints)
	default:
		return fmt.Errorf("tensor %q: type %q can not be written, use F32, F16 or I64", t.Name, t.DType)
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
	if t.DType == I64 {
		return le.AppendUint64(to, uint64(t.Ints[i])), nil
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
