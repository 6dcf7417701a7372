package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// matrix is a matrix for each head of each image of a tensor: element (i, j) of
// head h lies at h·head + i·row + j·col.
type matrix struct {
	compute.Tensor
	head, row, col int
}

// transposed returns the same values as a matrix of columns.
func (m matrix) transposed() matrix {
	m.row, m.col = m.col, m.row
	return m
}

// gemmRows and gemmCols are the values of C that an invocation computes.
const gemmRows, gemmCols = 4, 8

// gemm queues C = α·A·B, or C += α·A·B, of so many rows and columns and products,
// for every head of c's images. C's columns are next to each other.
func (d *Device) gemm(c, a, b matrix, rows, cols, inner, heads int, alpha float32, accumulate bool) {
	tiles := ceil(rows, gemmRows) * ceil(cols, gemmCols) * heads * c.N
	d.invocations(call{
		kernel: "gemm", entry: "gemm",
		ints: []integer{{"ROWS", gemmRows}, {"COLS", gemmCols}, flag("ACCUMULATE", accumulate)},
		args: []argument{out("c", c.Tensor), in("a", a.Tensor), in("b", b.Tensor)},
		params: []parameter{u("rows", rows), u("cols", cols), u("inner", inner), u("heads", heads), f("alpha", alpha),
			u("a_row", a.row), u("a_col", a.col), u("a_head", a.head), u("b_row", b.row), u("b_col", b.col), u("b_head", b.head),
			u("c_row", c.row), u("c_head", c.head)},
	}, tiles, 2*gemmRows*gemmCols*float64(inner))
}

// temporary returns a tensor in scratch memory; it has no buffer after a failure.
func (d *Device) temporary(slot, n, c, h, w int) compute.Tensor {
	b := d.scratched(slot, n*c*h*w)
	if b == nil {
		return compute.Tensor{}
	}
	return compute.Dense(&buffer{b, d, n * c * h * w}, n, c, h, w)
}
