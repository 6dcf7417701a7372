//go:build linux

package cpu

import (
	"fmt"
	"runtime/debug"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// fenced gives a function that makes arrays between pages that may not be touched,
// which end where their last page does or start where their first one starts. A
// fault becomes a panic that names the kernel.
func fenced(t *testing.T, atEnd bool) func(n int) []float32 {
	debug.SetPanicOnFault(true) // of this test's goroutine
	return func(n int) []float32 { return between(t, atEnd, n) }
}

func between(t *testing.T, atEnd bool, n int) []float32 {
	t.Helper()
	page := syscall.Getpagesize()
	size := ceil(4*n, page) * page
	all, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Munmap(all) })
	for _, fence := range [][]byte{all[:page], all[page+size:]} {
		require.NoError(t, syscall.Mprotect(fence, syscall.PROT_NONE))
	}
	from := page
	if atEnd {
		from += size - 4*n
	}
	x := unsafe.Slice((*float32)(unsafe.Pointer(&all[from])), n)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	return x
}

// No kernel reads or writes outside its operands, at any remainder and alignment.
func TestKernelsStayInsideTheirOperands(t *testing.T) {
	for _, k := range available() {
		for _, atEnd := range []bool{true, false} {
			for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 19, 21, 31, 33} {
				t.Run(fmt.Sprintf("%s/%d/%v", k.name, n, atEnd), func(t *testing.T) {
					array := fenced(t, atEnd)
					dst, x, a, b, ab, co := array(n), array(n), array(n), array(n), array(n), &plain
					k.mul(dst, x, a)
					k.fma(dst, x, a)
					k.exp(dst, x, 1, 0)
					k.affine(dst, x, co)
					k.silu(dst, x, co)
					for _, acc := range []bool{false, true} {
						k.linear(dst, x, a, co, acc)
						k.tangent(dst, x, a, co, acc)
					}
					k.second(dst, x, a, b, ab, co)
					k.sum(x)
					k.cdot(x, a, 1, 2)
					k.sums(new([3]float32), x, a)
					k.dots(new([3]float32), x, a, b, new([3]float32))
					k.panel(array(8), array(8*n), x)
				})
			}
			t.Run(fmt.Sprintf("%s/matrices/%v", k.name, atEnd), func(t *testing.T) {
				array := fenced(t, atEnd)
				const inner, ldc, stride = 5, 60, 53
				offs := []int{0, 1, 3}
				for nv := 1; nv <= 3; nv++ {
					for _, acc := range []bool{false, true} {
						k.tile(array(7*ldc+16*nv), ldc, array(8*inner*len(offs)), array((inner-1)*stride+3+16*nv), inner, stride, offs, nv, acc)
					}
				}
				for _, ld := range []int{16, 48} {
					s, p, top, sum := array(3*ld), array(3*ld), array(ld), array(ld)
					k.softmax(s, top, sum, 3, ld)
					k.centre(s, p, top, 3, ld)
				}
			})
			t.Run(fmt.Sprintf("%s/tiles/%v", k.name, atEnd), func(t *testing.T) {
				array := fenced(t, atEnd)
				for kind, s := range schemes {
					// Runs side by side, the last one in the last columns of its rows.
					const stride, width = 17, 64
					pitch := width + s.size
					at := []int{0, s.run, 2 * s.run, width - s.run}
					v, tmp := array((s.points-1)*stride+16), array(tileScratch)
					k.winograd[kind].in(v, stride, array((s.size+2)*pitch), pitch, at, 0, tmp)
					for _, add := range [][]float32{nil, array(s.size * width)} {
						k.winograd[kind].out(array(s.size*width), width, at, v, stride, tmp, 1, add)
					}
				}
			})
		}
	}
}
