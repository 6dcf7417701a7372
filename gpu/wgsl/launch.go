package wgsl

import (
	"fmt"
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// call is one dispatch of a kernel.
type call struct {
	kernel, entry string
	ints          []integer // substituted in the text
	texts         []text    // likewise, for $NAME
	args          []argument
	params        []parameter
	groups        [3]int  // workgroups
	work          float64 // floating-point operations, see stream.add
}

// integer is a number of the kernel's text.
type integer struct {
	name  string
	value int
}

// text stands for a name in the kernel's text.
type text struct{ name, text string }

// argument is an array of the kernel. A tensor NAME comes with the parameters
// NAME_off, NAME_pitch and NAME_n, and the function NAME_image(n), which is the
// index of the first value of image n mod N.
type argument struct {
	name    string
	tensor  compute.Tensor // or
	block   *block         // memory of the device's own
	vectors bool           // array<vec4<f32>>, not array<f32>
	writes  bool
}

func in(name string, t compute.Tensor) argument { return argument{name: name, tensor: t} }
func out(name string, t compute.Tensor) argument {
	return argument{name: name, tensor: t, writes: true}
}

// memory returns the block that an argument lies in.
func (a *argument) memory() *block {
	if a.block != nil {
		return a.block
	}
	return a.tensor.Buf.(*buffer).block
}

// parameter is a number of the kernel's uniform p.
type parameter struct {
	name  string
	bits  uint32
	float bool
}

func u(name string, v int) parameter { return parameter{name, uint32(v), false} }

func f(name string, v float32) parameter { return parameter{name, math.Float32bits(v), true} }

// bindings finds the distinct blocks of the arguments: WebGPU forbids to bind one
// buffer twice in a dispatch that writes it. which is each argument's binding,
// and is part of the kernel's text.
func (c *call) bindings() (which []int8, blocks []*block) {
	which = make([]int8, len(c.args))
	blocks = make([]*block, 0, len(c.args))
next:
	for i := range c.args {
		m := c.args[i].memory()
		for j, b := range blocks {
			if b == m {
				which[i] = int8(j)
				continue next
			}
		}
		which[i] = int8(len(blocks))
		blocks = append(blocks, m)
	}
	return which, blocks
}

// key names the call's pipeline: all that its text depends on.
func (c *call) key(which []int8) string {
	k := make([]byte, 0, 96)
	k = append(k, c.kernel...)
	k = append(k, '.')
	k = append(k, c.entry...)
	for _, v := range c.ints {
		k = append(k, ' ')
		k = append(k, v.name...)
		k = fmt.Append(k, v.value)
	}
	for _, v := range c.texts {
		k = append(k, ' ')
		k = append(k, v.text...)
	}
	k = append(k, ' ')
	for _, w := range which {
		k = append(k, byte('0'+w))
	}
	return string(k)
}

// source returns the call's WGSL and the kinds of its bindings.
func (c *call) source(which []int8, blocks int) (string, []webgpu.Binding, error) {
	var s strings.Builder
	kinds := make([]webgpu.Binding, blocks, blocks+1)
	types := make([]string, blocks)
	arrays := map[string]string{}
	for i, a := range c.args {
		arrays[a.name] = fmt.Sprintf("memory%d", which[i])
		types[which[i]] = "f32"
		if a.vectors {
			types[which[i]] = "vec4<f32>"
		}
		if a.writes {
			kinds[which[i]] = webgpu.ReadWrite
		}
	}
	for i, kind := range kinds {
		mode := [...]string{webgpu.ReadOnly: "read", webgpu.ReadWrite: "read_write"}[kind]
		fmt.Fprintf(&s, "@group(0) @binding(%d) var<storage, %s> memory%d: array<%s>;\n", i, mode, i, types[i])
	}
	kinds = append(kinds, webgpu.DynamicUniform)
	fmt.Fprintf(&s, "struct Params {\n")
	for _, p := range c.all() {
		if p.float {
			fmt.Fprintf(&s, "  %s: f32,\n", p.name)
		} else {
			fmt.Fprintf(&s, "  %s: u32,\n", p.name)
		}
	}
	fmt.Fprintf(&s, "}\n@group(0) @binding(%d) var<uniform> p: Params;\n", blocks)
	for _, a := range c.args {
		if a.block == nil {
			fmt.Fprintf(&s, "fn %s_image(n: u32) -> u32 { return p.%s_off + (n %% p.%s_n) * p.%s_pitch; }\n", a.name, a.name, a.name, a.name)
		}
	}
	for _, v := range c.texts {
		arrays[v.name] = v.text
	}
	ints := map[string]int{}
	for _, v := range c.ints {
		ints[v.name] = v.value
	}
	head, body, err := expand(c.kernel, c.entry, ints, arrays)
	return head + s.String() + body, kinds, err
}

// all returns the parameters with those of the tensors.
func (c *call) all() []parameter {
	all := make([]parameter, 0, len(c.params)+3*len(c.args))
	all = append(all, c.params...)
	for _, a := range c.args {
		if a.block == nil {
			t := a.tensor
			all = append(all, u(a.name+"_off", t.Off), u(a.name+"_pitch", t.Pitch), u(a.name+"_n", t.N))
		}
	}
	return all
}

// pipelineOf returns the call's pipeline, compiled when first used.
func (d *Device) pipelineOf(c *call, which []int8, blocks int) (webgpu.Pipeline, error) {
	key := c.key(which)
	if p, ok := d.pipelines[key]; ok {
		return p, nil
	}
	text, kinds, err := c.source(which, blocks)
	if err != nil {
		return 0, err
	}
	p, err := d.gpu.CreatePipeline(key, text, c.entry, kinds)
	if err != nil {
		return 0, fmt.Errorf("kernel %s: %w", key, oneLine{err})
	}
	d.pipelines[key] = p
	return p, nil
}

// binding is what a bind group depends on.
type binding struct {
	pipeline webgpu.Pipeline
	uniform  webgpu.Buffer
	blocks   [maxBlocks]webgpu.Buffer
}

const maxBlocks = 8

// bindGroup binds blocks and a stream's uniforms to a pipeline.
func (d *Device) bindGroup(p webgpu.Pipeline, blocks []*block, uniform *block) (webgpu.BindGroup, error) {
	k := binding{pipeline: p, uniform: uniform.id}
	for i, b := range blocks {
		k.blocks[i] = b.id
	}
	if g, ok := d.groups[k]; ok {
		return g, nil
	}
	ranges := make([]webgpu.Range, 0, maxBlocks+1)
	for _, b := range blocks {
		ranges = append(ranges, webgpu.Range{Buffer: b.id, Size: b.bytes})
	}
	ranges = append(ranges, webgpu.Range{Buffer: uniform.id, Size: uniformBytes})
	g, err := d.gpu.CreateBindGroup(p, ranges)
	if err != nil {
		return 0, err
	}
	d.groups[k] = g
	for _, b := range blocks {
		b.bound = append(b.bound, k)
	}
	uniform.bound = append(uniform.bound, k)
	return g, nil
}

// run queues a call.
func (d *Device) run(c call) {
	if d.Err() != nil {
		return
	}
	which, blocks := c.bindings()
	if len(blocks) > min(maxBlocks, d.limits.MaxStorageBuffers) {
		d.Fail(fmt.Errorf("kernel %s needs %d arrays, %d can be bound", c.entry, len(blocks), min(maxBlocks, d.limits.MaxStorageBuffers)))
		return
	}
	p, err := d.pipelineOf(&c, which, len(blocks))
	if err != nil {
		d.Fail(err)
		return
	}
	d.stream.add(p, blocks, c.all(), c.groups, c.work)
}

func ceil(n, of int) int { return (n + of - 1) / of }

// oneLine is an error in one line: a compiler's has many.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

func (e oneLine) Unwrap() error { return e.error }
