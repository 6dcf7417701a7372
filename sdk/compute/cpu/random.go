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
	d.spans(dst.N, dst.Len(), func(_ *worker, n, i, j int) {
		at := first[n]
		at.Counter[0] += uint32(i / 4) // spans start at multiples of four
		diffusion.Normals(image(dst, n)[i:j], at.Counter, at.Key)
	})
}
