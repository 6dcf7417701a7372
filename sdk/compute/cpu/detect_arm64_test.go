package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The assembly does not look at lengths: operands that are too short must panic
// before it reads or writes beyond them, and none at all must be left alone.
func TestNeonChecksItsOperands(t *testing.T) {
	const n = 9
	full, short, k := make([]float32, n), make([]float32, n-1), &plain
	matrix, line := make([]float32, 2*16), make([]float32, 16)
	for name, run := range map[string]func(x []float32){
		"cdot":    func(x []float32) { neon.cdot(full, x, 0, 0) },
		"sums":    func(x []float32) { neon.sums(new([3]float32), full, x) },
		"dots":    func(x []float32) { neon.dots(new([3]float32), full, full, x, new([3]float32)) },
		"mul a":   func(x []float32) { neon.mul(full, x, full) },
		"mul b":   func(x []float32) { neon.mul(full, full, x) },
		"fma":     func(x []float32) { neon.fma(full, full, x) },
		"exp":     func(x []float32) { neon.exp(full, x, 1, 0) },
		"panel":   func(x []float32) { neon.panel(make([]float32, 8), make([]float32, 8*len(x)), full) },
		"affine":  func(x []float32) { neon.affine(full, x, k) },
		"silu":    func(x []float32) { neon.silu(full, x, k) },
		"linear":  func(x []float32) { neon.linear(full, full, x, k, true) },
		"tangent": func(x []float32) { neon.tangent(full, full, x, k, false) },
		"second":  func(x []float32) { neon.second(full, full, full, full, x, k) },
		"softmax": func(x []float32) { neon.softmax(matrix, line[:len(x)+7:len(x)+7], line, 2, 16) },
		"centre":  func(x []float32) { neon.centre(matrix[:len(x)+23:len(x)+23], matrix, line, 2, 16) },
		"tile": func(x []float32) {
			neon.tile(make([]float32, 8*16), 16, make([]float32, 8), line[:len(x)+7], 1, 16, one, 1, false)
		},
	} {
		assert.NotPanics(t, func() { run(full) }, name)
		assert.Panics(t, func() { run(short[: n-1 : n-1]) }, name)
	}
	assert.Zero(t, neon.sum(nil))
	assert.Zero(t, neon.cdot(nil, full, 1, 1))
	for _, run := range []func(){
		func() { neon.mul(nil, full, full) },
		func() { neon.fma(nil, full, full) },
		func() { neon.exp(nil, full, 1, 0) },
		func() { neon.affine(nil, full, k) },
		func() { neon.silu(nil, full, k) },
		func() { neon.linear(nil, full, full, k, true) },
		func() { neon.tangent(nil, full, full, k, true) },
		func() { neon.second(nil, full, full, full, full, k) },
	} {
		assert.NotPanics(t, run)
	}
	dst := random(1, 9)
	neon.panel(dst, nil, nil)
	assert.Equal(t, append(make([]float32, 8), random(1, 9)[8]), dst, "the product with nothing is 0")
}
