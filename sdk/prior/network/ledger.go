package network

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// Ledger is a checkpoint that notes which tensors a network takes.
type Ledger struct {
	checkpoint.Source
	seen map[string]bool
}

// NewLedger returns the ledger of a checkpoint, without entries.
func NewLedger(from checkpoint.Source) *Ledger { return &Ledger{from, map[string]bool{}} }

// Floats implements [checkpoint.Source].
func (l *Ledger) Floats(name string, shape ...int) ([]float32, error) {
	l.seen[name] = true
	return l.Source.Floats(name, shape...)
}

// Complete returns an error where a tensor was not taken, unless its name has one of the
// spared parts.
func (l *Ledger) Complete(spared ...string) error {
	for _, name := range l.Names() {
		if !l.seen[name] && !slices.ContainsFunc(spared, func(part string) bool { return strings.Contains(name, part) }) {
			return fmt.Errorf("tensor %.200q has no place in this network: networks that take a low-resolution picture or a text are not supported", name)
		}
	}
	return nil
}

// Aliases are a checkpoint's tensors under other names: those of a graph, each with the
// tensors of the file that are joined along the first dimension to make it.
type Aliases map[string][]string

// Of returns the checkpoint with the graph's names. Trailing dimensions of 1 make no
// difference: a linear layer may stand for a convolution of one pixel.
func (a Aliases) Of(from checkpoint.Source) checkpoint.Source { return aliased{from, a} }

type aliased struct {
	checkpoint.Source
	names Aliases
}

// Floats implements [checkpoint.Source].
func (s aliased) Floats(name string, shape ...int) (all []float32, err error) {
	parts, ok := s.names[name]
	if !ok {
		return nil, fmt.Errorf("the layout has no tensor for %s", name)
	}
	for _, part := range parts {
		want := slices.Clone(shape)
		if len(want) > 0 {
			want[0] /= len(parts)
		}
		if t, ok := s.Info(part); ok && slices.Equal(trimmed(t.Shape), trimmed(want)) {
			want = t.Shape
		}
		values, err := s.Source.Floats(part, want...)
		if err != nil {
			return nil, err
		}
		all = append(all, values...)
	}
	return all, nil
}

// trimmed leaves out trailing dimensions of 1, but the first.
func trimmed(shape []int) []int {
	for len(shape) > 1 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}
