package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Separable implements [compute.Linear]: two products with a matrix, with the
// channels as heads.
func (d *Device) Separable(dst, src, l, r compute.Tensor, accumulate bool) {
	if !d.SeparableFits(dst, src, l, r) {
		return
	}
	half := d.temporary(0, src.N, src.C, dst.H, src.W)
	if half.Buf == nil {
		return
	}
	images := func(t compute.Tensor) matrix { return matrix{t, t.H * t.W, t.W, 1} }
	one := func(t compute.Tensor) matrix { return matrix{t, 0, t.W, 1} }
	d.gemm(images(half), one(l), images(src), dst.H, src.W, src.H, src.C, 1, false)
	d.gemm(images(dst), images(half), one(r).transposed(), dst.H, dst.W, src.W, src.C, 1, accumulate)
}

// Correlate implements [compute.Linear].
func (d *Device) Correlate(dst, src, kernel compute.Tensor, border compute.Border, adjoint bool) {
	if !d.CorrelateFits(dst, src, kernel, border) {
		return
	}
	h, w, kh, kw := src.H, src.W, kernel.H, kernel.W
	ints := []integer{flag("CIRCULAR", border == compute.Circular), flag("ADJOINT", adjoint)}
	to, above, left := dst, kh/2, kw/2
	if adjoint { // onto the extended image
		if to = d.temporary(1, dst.N, dst.C, h+kh-1, w+kw-1); to.Buf == nil {
			return
		}
		above, left = kh-1, kw-1
	}
	rows, row := to.H+kh-1, ceil(to.W, 4)*4+kw-1
	count := dst.N * dst.C
	wide := d.scratched(0, count*rows*row)
	if wide == nil {
		return
	}
	params := func(width, height, rows, row, above, left int) []parameter {
		return []parameter{u("width", width), u("height", height), u("channels", dst.C), u("rows", rows), u("row", row),
			u("before_y", above), u("before_x", left), u("kernel_height", kh), u("kernel_width", kw)}
	}
	d.planes(call{
		kernel: "correlate", entry: "extend", ints: ints,
		args:   []argument{{name: "wide", block: wide, writes: true}, in("x", src)},
		params: params(w, h, rows, row, above, left),
		work:   2 * pointwiseWork * float64(count*rows*row),
	}, row, rows, count)
	d.planes(call{
		kernel: "correlate", entry: "correlate", ints: ints,
		args:   []argument{out("dst", to), {name: "wide", block: wide}, in("k", kernel)},
		params: params(to.W, to.H, rows, row, above, left),
		work:   pointwiseWork * float64(count*to.H*to.W*kh*kw),
	}, ceil(to.W, 4), to.H, count)
	if adjoint {
		d.planes(call{
			kernel: "correlate", entry: "fold", ints: ints,
			args:   []argument{out("dst", dst), {name: "wide", block: to.Buf.(*buffer).block}},
			params: params(w, h, to.H, to.W, kh/2, kw/2),
			work:   3 * pointwiseWork * float64(count*h*w),
		}, w, h, count)
	}
}
