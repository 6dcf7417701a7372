package cuda

import "fmt"

// Precision is how convolutions multiply. Sums are float32 in all of them, and so is
// everything else.
type Precision int

// The precisions. An error is that of one convolution, relative, on normal values.
const (
	TF32   Precision = iota // tensor cores, factors of 11 bits: 3e-4
	F32                     // float32 without tensor cores: as the CPU
	BF16                    // tensor cores, factors of 8 bits: 3e-3
	TF32x3                  // tensor cores, three products of TF32 parts: 4e-7
)

var precisions = [...]string{"tf32", "f32", "bf16", "tf32x3"}

// rounding returns the relative error of a factor, see [compute.Info].
func (p Precision) rounding() float64 {
	return [...]float64{TF32: 0x1p-11, F32: 0, BF16: 0x1p-8, TF32x3: 0}[p]
}

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
