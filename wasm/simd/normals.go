//go:build js

package simd

import "github.com/cmi-diffusion/cmi/sdk/compute"

// Normals implements [compute.Drawer]: the same bits as the host's.
func (d *Device) Normals(dst compute.Tensor, first []compute.PhiloxBlock) {
	if !d.NormalsFits(dst, first) {
		return
	}
	args := []any{dst}
	for _, b := range first {
		for _, word := range append(b.Counter[:], b.Key[:]...) {
			args = append(args, int(word))
		}
	}
	d.call(cmdNormals, args...)
}
