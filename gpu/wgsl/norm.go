package wgsl

import "github.com/cmi-diffusion/cmi/sdk/compute"

// normalisation is one call of a group normalisation or of a derivative.
type normalisation struct {
	dev                  *Device
	dst, x, stats        compute.Tensor
	norm                 compute.Norm
	pixels, slices       int
	parts, means, affine *block // of slices, groups and channels
	params               []parameter
}

// The scratch of a normalisation.
const (
	partsScratch = iota
	meansScratch
	affineScratch
)

// slicePixels is the pixels of a channel that one invocation adds up, about.
const slicePixels = 128

// normalise prepares a call that sums so many numbers a slice; nil after a failure.
func (d *Device) normalise(dst, x, stats compute.Tensor, p compute.Norm, sums int) *normalisation {
	pixels := x.H * x.W
	c := &normalisation{dev: d, dst: dst, x: x, stats: stats, norm: p, pixels: pixels, slices: min(64, ceil(pixels, slicePixels))}
	c.parts = d.scratched(partsScratch, sums*dst.N*x.C*c.slices)
	c.means = d.scratched(meansScratch, sums*dst.N*p.Groups)
	c.affine = d.scratched(affineScratch, 4*x.N*x.C)
	if c.parts == nil || c.means == nil || c.affine == nil {
		return nil
	}
	c.params = []parameter{u("channels", x.C), u("groups", p.Groups), u("pixels", pixels), u("slices", c.slices), u("primal", x.N)}
	return c
}

func (c *normalisation) run(kernel, entry string, ints []integer, groups [3]int, values int, args ...argument) {
	c.dev.run(call{kernel: kernel, entry: entry, ints: ints, args: args, params: c.params, groups: groups,
		work: pointwiseWork * float64(values)})
}

// join queues a kernel that adds up the slices of each group, width numbers each: a
// workgroup a group where the driver takes subgroups, else an invocation each sum.
func (c *normalisation) join(entry string, ints []integer, invocations, width int, args ...argument) {
	k := call{kernel: "groupnorm_sums", entry: entry, ints: ints, args: args, params: c.params,
		groups: [3]int{ceil(invocations, workgroup), c.dst.N, 1}, work: pointwiseWork * float64(width*c.dst.N*c.x.C*c.slices)}
	if c.dev.subgroups {
		k.kernel, k.groups[0] = "groupnorm_subgroups", c.norm.Groups
	}
	c.dev.run(k)
}

// prepare fills affine from the statistics.
func (c *normalisation) prepare() {
	args := []argument{{name: "affine", block: c.affine, vectors: true, writes: true},
		in("stats", c.stats), in("gamma", c.norm.Gamma), in("beta", c.norm.Beta)}
	scaled := c.norm.Scale.Buf != nil
	if scaled {
		args = append(args, in("scale", c.norm.Scale), in("shift", c.norm.Shift))
	}
	c.run("groupnorm", "affine", []integer{flag("SCALED", scaled)}, [3]int{ceil(c.x.C, workgroup), c.x.N, 1}, 0, args...)
}

// sums adds up terms and their moments over slices, then over groups.
func (c *normalisation) sums(terms int, adjoint bool, sources ...argument) {
	args := append([]argument{{name: "parts", block: c.parts, writes: true}, in("x", c.x),
		{name: "affine", block: c.affine, vectors: true}}, sources...)
	c.run("groupnorm_sums", "slices", []integer{{"TERMS", terms}, flag("ADJOINT", adjoint), flag("SILU", adjoint && c.norm.SiLU)},
		[3]int{ceil(c.x.C*c.slices, workgroup), c.dst.N, 1}, len(args)*c.dst.N*c.dst.Len(), args...)
	width := 2 * terms
	c.join("group_means", []integer{{"WIDTH", width}}, c.norm.Groups*width, width,
		argument{name: "means", block: c.means, writes: true}, argument{name: "parts", block: c.parts})
}

// apply queues the map itself. Channels of few pixels have small workgroups, whose
// invocations take several pixels each, on software adapters.
func (c *normalisation) apply(entry string, sources []argument, extra ...integer) {
	size := workgroup
	if c.dev.limits.Software {
		size = max(8, min(workgroup, ceil(c.pixels, 8*8)*8))
	}
	ints := append([]integer{flag("SILU", c.norm.SiLU), {"WORKGROUP", size}}, extra...)
	args := append([]argument{out("dst", c.dst), in("x", c.x), {name: "affine", block: c.affine, vectors: true}}, sources...)
	c.run("groupnorm", entry, ints, [3]int{min(c.dev.limits.MaxWorkgroups, ceil(c.pixels, 8*size)), c.x.C, c.dst.N},
		len(args)*c.dst.N*c.dst.Len(), args...)
}

// GroupNorm implements [compute.Nonlinear].
func (d *Device) GroupNorm(dst, x, stats compute.Tensor, p compute.Norm) {
	if !d.NormFits(dst, x, stats, p) {
		return
	}
	c := d.normalise(dst, x, stats, p, 2)
	if c == nil {
		return
	}
	c.run("groupnorm_sums", "value_slices", nil, [3]int{ceil(x.C*c.slices, workgroup), x.N, 1}, 2*x.N*x.Len(),
		argument{name: "parts", block: c.parts, writes: true}, in("x", x))
	c.params = append(c.params, f("eps", p.Eps))
	c.join("group_stats", nil, p.Groups, 2, out("stats", stats), argument{name: "parts", block: c.parts})
	c.params = c.params[:len(c.params)-1]
	c.prepare()
	c.apply("groupnorm", nil)
}

// derive runs a derivative: its sums over groups, then the map.
func (d *Device) derive(entry string, terms int, dst, x, stats compute.Tensor, p compute.Norm, sources []argument, extra ...integer) {
	if c := d.normalise(dst, x, stats, p, 2*terms); c != nil {
		c.prepare()
		c.sums(terms, entry == "vjp_groupnorm", sources...)
		c.apply(entry, append([]argument{{name: "means", block: c.means}}, sources...), extra...)
	}
}

// GroupNormAdjoint implements [compute.Nonlinear].
func (d *Device) GroupNormAdjoint(dx, x, stats, dy compute.Tensor, p compute.Norm, accumulate bool) {
	if d.NormFits(dx, x, stats, p, dy) {
		d.derive("vjp_groupnorm", 1, dx, x, stats, p, []argument{in("dy", dy)}, flag("ACCUMULATE", accumulate))
	}
}

// GroupNormTangent implements [compute.Nonlinear].
func (d *Device) GroupNormTangent(dst, x, stats, a compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a) {
		d.derive("jvp_groupnorm", 1, dst, x, stats, p, []argument{in("a", a)})
	}
}

// GroupNormSecond implements [compute.Nonlinear].
func (d *Device) GroupNormSecond(dst, x, stats, a, b, ab compute.Tensor, p compute.Norm) {
	if d.NormFits(dst, x, stats, p, a, b, ab) {
		d.derive("jet2_groupnorm", 4, dst, x, stats, p, []argument{in("a", a), in("b", b), in("ab", ab)})
	}
}
