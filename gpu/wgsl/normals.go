package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Normals implements [compute.Drawer].
func (d *Device) Normals(dst compute.Tensor, first []compute.PhiloxBlock) {
	if !d.NormalsFits(dst, first) {
		return
	}
	word := func(name string, v uint32) parameter { return parameter{name, v, false} }
	for n, b := range first {
		d.run(call{
			kernel: "normals", entry: "normals", args: []argument{out("dst", dst)},
			params: []parameter{u("image", n), u("len", dst.Len()), word("key0", b.Key[0]), word("key1", b.Key[1]),
				word("counter0", b.Counter[0]), word("counter1", b.Counter[1]), word("counter2", b.Counter[2]), word("counter3", b.Counter[3])},
			groups: [3]int{d.across(dst.Len()), 1, 1},
			work:   4 * pointwiseWork * float64(dst.Len()),
		})
	}
}
