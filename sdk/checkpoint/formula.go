package checkpoint

import (
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
)

// Formula is a checkpoint without a file: each value is a function of the tensor's
// name and the value's index. It stands in for a network whose weights are absent,
// so that shapes, speed and derivatives can be checked on any machine: the golden
// vectors of the full-size networks were made with it.
//
// It holds the shape of each tensor by name. Tensors of two or more dimensions have
// a fan-in of the product of all but the first; a 1-D “….weight” (a normalisation's
// gain) is 1 + the values of fan-in 75, and a 1-D “….bias” those of fan-in 300.
type Formula map[string][]int

// Names lists the tensors in alphabetic order.
func (f Formula) Names() []string { return slices.Sorted(maps.Keys(f)) }

// Info describes a tensor; false if there is none of that name.
func (f Formula) Info(name string) (Tensor, bool) {
	shape, ok := f[name]
	return Tensor{Name: name, DType: F32, Shape: slices.Clone(shape)}, ok
}

// Metadata is empty.
func (f Formula) Metadata() map[string]string { return map[string]string{} }

// Floats computes a tensor's values; see [Source].
func (f Formula) Floats(name string, shape ...int) ([]float32, error) {
	t, ok := f.Info(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("formula checkpoint: no tensor %q", name)
	case len(shape) > 0 && !slices.Equal(shape, t.Shape):
		return nil, fmt.Errorf("formula checkpoint: tensor %q has shape %v, wanted %v", name, t.Shape, shape)
	case slices.ContainsFunc(t.Shape, func(d int) bool { return d < 0 }):
		return nil, fmt.Errorf("formula checkpoint: tensor %q has shape %v, wanted dimensions ≥ 0", name, t.Shape)
	case len(t.Shape) >= 2:
		return FormulaValues(name, t.Len(), Tensor{Shape: t.Shape[1:]}.Len()), nil
	case len(t.Shape) == 1 && strings.HasSuffix(name, "weight"):
		values := FormulaValues(name, t.Len(), 75)
		for i := range values {
			values[i]++
		}
		return values, nil
	case len(t.Shape) == 1 && strings.HasSuffix(name, "bias"):
		return FormulaValues(name, t.Len(), 300), nil
	}
	return nil, fmt.Errorf("formula checkpoint: no rule for tensor %q of shape %v, wanted a weight or a bias", name, t.Shape)
}

// FormulaValues are count values, uniform in ±√(3/fanIn) and so of variance 1/fanIn.
// Value k is (2u − 1)·√(3/fanIn) rounded to float32, where u in [0, 1) is the upper
// 53 bits of splitmix64(crc32(name)·2³² + k) (Steele, Lea & Flood 2014; IEEE CRC).
// fanIn is > 0 and may be fractional.
func FormulaValues[F int | float64](name string, count int, fanIn F) []float32 {
	key := uint64(crc32.ChecksumIEEE([]byte(name))) << 32
	scale := math.Sqrt(3 / float64(fanIn))
	out := make([]float32, count)
	for k := range out {
		u := float64(splitmix64(key|uint64(k))>>11) / (1 << 53)
		out[k] = float32(float64(2*u-1) * scale)
	}
	return out
}

// splitmix64 returns one output of the generator whose state is s.
func splitmix64(s uint64) uint64 {
	s += 0x9E3779B97F4A7C15
	s = (s ^ s>>30) * 0xBF58476D1CE4E5B9
	s = (s ^ s>>27) * 0x94D049BB133111EB
	return s ^ s>>31
}
