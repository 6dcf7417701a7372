package cpu

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

var _ compute.Drawer = (*Device)(nil)

// Normals implements [compute.Drawer].
func (d *Device) Normals(dst compute.Tensor, first []compute.PhiloxBlock) {
	if !d.NormalsFits(dst, first) {
		return
	}
	d.pointwise = pointwiseCall{dst: dst, first: first}
	d.spans(dst.N, dst.Len(), func(d *Device, _ *worker, n, i, j int) {
		c := &d.pointwise
		at := c.first[n]
		at.Counter[0] += uint32(i / 4) // spans start at multiples of four
		diffusion.Normals(image(c.dst, n)[i:j], at.Counter, at.Key)
	})
}
