package checkpoint

import "math"

// fromHalf widens an IEEE 754 binary16 value, which is exact.
func fromHalf(h uint16) float32 {
	sign, exponent, fraction := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormal numbers: multiples of 2⁻²⁴
		v := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f: // infinities and NaN
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// toHalf rounds to the nearest binary16 value, ties to even; false where the result
// would be infinite or v is not finite.
func toHalf(v float32) (uint16, bool) {
	bits := math.Float32bits(v)
	sign, size := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case size >= 0x477ff000: // 65520, half way beyond the largest number
		return 0, false
	case size < 0x38800000: // below 2⁻¹⁴: subnormal
		n := math.RoundToEven(float64(math.Float32frombits(size)) * (1 << 24))
		return sign | uint16(n), true
	}
	size += 0xfff + size>>13&1 // a carry moves into the exponent, as it should
	return sign | uint16((size-(127-15)<<23)>>13), true
}
