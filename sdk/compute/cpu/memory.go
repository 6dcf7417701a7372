package cpu

import "github.com/cmi-diffusion/cmi/sdk/compute"

// ConvMemory implements [compute.Reserver].
func (d *Device) ConvMemory(prepared compute.Weights, images, height, width int, adjoint bool) (lasting, scratch int64) {
	w, ok := prepared.(*weights)
	if !ok {
		return 0, 0
	}
	in, out, way := w.shape.In, w.shape.Out, 0
	if adjoint {
		in, out, way = out, in, 1
	}
	floats, staged, pixels := 0, 0, height*width
	kind := -1
	if w.shape.Kernel == 3 {
		kind = d.winogradFor(in, out, height, width)
	}
	switch {
	case kind >= 0:
		s := &schemes[kind]
		if w.tiled[kind][way] == nil {
			floats = s.points * ceil(out, 8) * 8 * in
		}
		_, staged = s.staging(in, out, images*(pixels/s.cell))
	case adjoint && w.backward == nil:
		floats = ceil(out, 8) * 8 * in * w.shape.Kernel * w.shape.Kernel
	}
	switch {
	case kind >= 0:
	case w.shape.Kernel == 3:
		_, stride, batch := strips(in, height, width+1)
		staged = batch * in * stride
	case pixels == 1:
		staged = in * ceil(images, 16) * 16
	case pixels%16 != 0:
		staged = images * in * ceil(pixels, 16) * 16
	}
	return 4 * int64(floats), 4 * int64(max(0, staged-cap(d.stage)))
}
