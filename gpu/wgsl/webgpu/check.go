package webgpu

import (
	"errors"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// What native drivers check before they call their library, which may end the
// process or not look at all.

// CheckSize refuses a buffer that the adapter can't take beside so many bytes.
func (i Info) CheckSize(bytes int, allocated int64) error {
	if bytes > i.MaxBuffer {
		return fmt.Errorf("a buffer of %d bytes, the adapter takes %d at most: %w", bytes, i.MaxBuffer, compute.ErrMemory)
	}
	if i.Memory > 0 && allocated+int64(bytes) > i.Memory {
		return fmt.Errorf("a buffer of %d bytes beside %d, there is room for %d in all: %w", bytes, allocated, i.Memory, compute.ErrMemory)
	}
	return nil
}

// CheckGroups refuses more workgroups than the adapter takes.
func (i Info) CheckGroups(groups []int32) error {
	for _, n := range groups {
		if n < 0 || int(n) > i.MaxWorkgroups {
			return fmt.Errorf("%v workgroups, the adapter takes %d in a dimension", groups, i.MaxWorkgroups)
		}
	}
	return nil
}

// CheckWords refuses what are not whole words inside a buffer of so many bytes.
func CheckWords(offset, bytes, size int) error {
	if offset < 0 || bytes < 0 || offset%4 != 0 || bytes%4 != 0 || bytes > size-offset {
		return fmt.Errorf("%d bytes at %d of a buffer of %d: whole words inside it are wanted", bytes, offset, size)
	}
	return nil
}

// CheckOffset refuses a dynamic offset where none is taken, and none where one is.
func CheckOffset(offset int32, taken bool) error {
	if taken != (offset >= 0) {
		return fmt.Errorf("dynamic offset %d for a bind group that takes one: %v", offset, taken)
	}
	return nil
}

// Bound checks the ranges of a bind group against their pipeline's bindings and the
// sizes of their buffers. dynamic is the binding with a dynamic offset, −1 for none.
func Bound(ranges []Range, bindings []Binding, size func(Buffer) (int, error)) (dynamic int, err error) {
	if len(ranges) != len(bindings) {
		return -1, fmt.Errorf("a bind group of %d ranges for a pipeline of %d bindings", len(ranges), len(bindings))
	}
	dynamic = -1
	for i, r := range ranges {
		have, err := size(r.Buffer)
		if err != nil {
			return -1, err
		}
		if r.Offset < 0 || r.Size < 1 || r.Size > have-r.Offset {
			return -1, fmt.Errorf("binding %d is bytes %d to %d of a buffer of %d", i, r.Offset, r.Offset+r.Size, have)
		}
		if bindings[i] == DynamicUniform {
			dynamic = i
		}
	}
	return dynamic, nil
}

// Next returns the first command of a stream, and the others.
func Next(stream []int32) (code int32, operands, rest []int32, err error) {
	code = stream[0]
	if code != CmdDispatch && code != CmdCopy || len(stream) <= Operands(code) {
		return 0, nil, nil, errors.New("the stream of commands is not well formed")
	}
	end := 1 + Operands(code)
	return code, stream[1:end], stream[end:], nil
}
