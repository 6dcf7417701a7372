package wgsl

import (
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// workgroup is the size of most kernels' workgroups.
const workgroup = 64

// across returns the number of workgroups for so many values of an image or channel: an
// invocation computes about four.
func (d *Device) across(values int) int {
	return min(ceil(values, 4*workgroup), d.limits.MaxWorkgroups)
}

// pointwiseWork is the cost of reading or writing a value on a software adapter, in
// floating-point operations of a matrix product.
const pointwiseWork = 20

// Combine implements [compute.Pointwise].
func (d *Device) Combine(dst compute.Tensor, terms ...compute.Term) {
	if !d.CombineFits(dst, terms) {
		return
	}
	coef := func(n, k int) float32 { return float32(terms[k].Coef[n%len(terms[k].Coef)]) }
	for n := 0; n < dst.N; { // images of equal factors together
		next := n + 1
		for next < dst.N && !slices.ContainsFunc(indices(len(terms)), func(k int) bool { return coef(n, k) != coef(next, k) }) {
			next++
		}
		args := []argument{out("dst", dst)}
		params := []parameter{u("len", dst.Len()), u("first", n)}
		for k, t := range terms {
			args = append(args, in("x"+string(rune('0'+k)), t.X))
			params = append(params, f("c"+string(rune('0'+k)), coef(n, k)))
		}
		d.run(call{
			kernel: "combine", entry: "combine", ints: []integer{{"TERMS", len(terms)}}, args: args, params: params,
			groups: [3]int{d.across(dst.Len()), next - n, 1},
			work:   pointwiseWork * float64((next-n)*dst.Len()*len(args)),
		})
		n = next
	}
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// AddChannel implements [compute.Pointwise].
func (d *Device) AddChannel(dst, x, e compute.Tensor) {
	if !d.AddChannelFits(dst, x, e) {
		return
	}
	d.run(call{
		kernel: "addchannel", entry: "addchannel",
		args:   []argument{out("dst", dst), in("x", x), in("e", e)},
		params: []parameter{u("pixels", dst.H*dst.W)},
		groups: [3]int{d.across(dst.H * dst.W), dst.C, dst.N},
		work:   3 * pointwiseWork * float64(dst.N*dst.Len()),
	})
}

// Mul implements [compute.Pointwise].
func (d *Device) Mul(dst, a, b compute.Tensor) {
	if !d.MulFits(dst, a, b) {
		return
	}
	d.run(call{
		kernel: "mul", entry: "mul",
		args:   []argument{out("dst", dst), in("a", a), in("b", b)},
		params: []parameter{u("len", b.Len())},
		groups: [3]int{d.across(b.Len()), dst.C / b.C, dst.N},
		work:   3 * pointwiseWork * float64(dst.N*dst.Len()),
	})
}

// dotSlice is how many products one invocation adds up, and subgroupDotSlice how many a
// workgroup does.
const dotSlice, subgroupDotSlice = 32, 8 * workgroup

// Dots implements [compute.Pointwise].
func (d *Device) Dots(pairs ...[2]compute.Tensor) ([][]float64, error) {
	if !d.DotsFit(pairs) || len(pairs) == 0 {
		return nil, d.Err()
	}
	all := 0 // partial sums of all pairs
	for _, p := range pairs {
		all += compute.Larger(p).N * d.dotPieces(p[0].Len())
	}
	sums := d.scratched(0, all)
	if sums == nil {
		return nil, d.Err()
	}
	first := 0
	for _, p := range pairs {
		images, pieces := compute.Larger(p).N, d.dotPieces(p[0].Len())
		kernel, groups := "dot", ceil(pieces, workgroup)
		if d.subgroups {
			kernel, groups = "dot_subgroups", pieces
		}
		d.run(call{
			kernel: kernel, entry: "dot_slices",
			args:   []argument{{name: "sums", block: sums, writes: true}, in("a", p[0]), in("b", p[1])},
			params: []parameter{u("len", p[0].Len()), u("slices", pieces), u("first", first)},
			groups: [3]int{groups, images, 1},
			work:   2 * pointwiseWork * float64(images*p[0].Len()),
		})
		first += images * pieces
	}
	partial := make([]float32, all)
	if err := d.fetch(partial, sums, 0); err != nil {
		return nil, err
	}
	dots := make([][]float64, len(pairs))
	for k, p := range pairs {
		images, pieces := compute.Larger(p).N, d.dotPieces(p[0].Len())
		dots[k] = make([]float64, images)
		for i, v := range partial[:images*pieces] {
			dots[k][i/pieces] += float64(v)
		}
		partial = partial[images*pieces:]
	}
	return dots, nil
}

// dotPieces returns the number of partial sums of an image of so many values.
func (d *Device) dotPieces(values int) int {
	if d.subgroups {
		return min(ceil(values, subgroupDotSlice), d.limits.MaxWorkgroups)
	}
	return ceil(values, dotSlice)
}
