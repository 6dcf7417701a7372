package diffusion

import "math/bits"

// Philox returns four words of the Philox 4×32-10 counter-based generator (Salmon et al.
// 2011, "Parallel random numbers: as easy as 1, 2, 3"): ten rounds of a keyed bijection
// of a 128-bit counter. Any device computes the same words for the same counter,
// in any order.
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	const (
		multiplier0, multiplier1 = 0xD2511F53, 0xCD9E8D57
		weyl0, weyl1             = 0x9E3779B9, 0xBB67AE85 // golden ratio and √3 − 1
	)
	for range 10 {
		hi0, lo0 := bits.Mul32(multiplier0, counter[0])
		hi1, lo1 := bits.Mul32(multiplier1, counter[2])
		counter = [4]uint32{hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0}
		key[0] += weyl0
		key[1] += weyl1
	}
	return counter
}
