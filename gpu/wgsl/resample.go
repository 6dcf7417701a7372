package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// planes queues a call for so many channel images, 8×8 pixels a workgroup, in as
// many dispatches as it takes; the kernel finds the first plane as p.first.
func (d *Device) planes(c call, width, height, count int) {
	params := c.params
	for first := 0; first < count; first += d.limits.MaxWorkgroups {
		some := min(count-first, d.limits.MaxWorkgroups)
		part := c
		part.params = append([]parameter{u("first", first)}, params...)
		part.groups = [3]int{ceil(width, 8), ceil(height, 8), some}
		part.work = c.work * float64(some) / float64(count)
		d.run(part)
	}
}

// Resample implements [compute.Linear].
func (d *Device) Resample(dst, src compute.Tensor, kind compute.Resampling, scale float32, accumulate bool) {
	if !d.ResampleFits(dst, src, kind) {
		return
	}
	d.planes(call{
		kernel: "resample", entry: "resample", ints: []integer{{"KIND", int(kind)}, flag("ACCUMULATE", accumulate)},
		args:   []argument{out("dst", dst), in("x", src)},
		params: []parameter{u("width", dst.W), u("height", dst.H), u("channels", dst.C), f("scale", scale)},
		work:   3 * pointwiseWork * float64(dst.N*dst.Len()),
	}, dst.W, dst.H, dst.N*dst.C)
}
