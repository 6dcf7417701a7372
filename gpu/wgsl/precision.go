package wgsl

import "fmt"

// Precision is how convolutions multiply. Sums are float32 in all of them, and so is
// everything else.
type Precision int

// The precisions.
const (
	F32 Precision = iota // float32: as the CPU
	F16                  // factors of 11 bits, see conv_tiled_f16.wgsl; for drivers that take f16
)

var precisions = [...]string{"f32", "f16"}

// rounding returns the relative error of a factor, see [compute.Info].
func (p Precision) rounding() float64 { return [...]float64{F32: 0, F16: 0x1p-11}[p] }

// String returns the name that [ParsePrecision] reads.
func (p Precision) String() string { return precisions[p] }

// ParsePrecision finds a precision by its name.
func ParsePrecision(name string) (Precision, error) {
	for i, n := range precisions {
		if n == name {
			return Precision(i), nil
		}
	}
	return 0, fmt.Errorf("precision %q: want one of %v", name, precisions)
}
