//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package native

import (
	"fmt"

	"github.com/rajveermalviya/go-webgpu/wgpu"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

// layout is how shaders with the same bindings are bound.
type layout struct {
	group    *wgpu.BindGroupLayout
	pipeline *wgpu.PipelineLayout
}

type pipeline struct {
	ref      *wgpu.ComputePipeline
	layout   layout
	bindings []webgpu.Binding
}

type group struct {
	ref     *wgpu.BindGroup
	dynamic bool
	names   []webgpu.Buffer // and what they were when the group was made
	buffers []*wgpu.Buffer
}

func (g *gpu) CreatePipeline(label, wgsl, entry string, bindings []webgpu.Binding) (webgpu.Pipeline, error) {
	if g.err != nil {
		return 0, g.err
	}
	l, err := g.layout(bindings)
	if err != nil {
		return 0, fmt.Errorf("shader %s: %w", label, err)
	}
	module, err := g.device.CreateShaderModule(&wgpu.ShaderModuleDescriptor{Label: label, WGSLDescriptor: &wgpu.ShaderModuleWGSLDescriptor{Code: wgsl}})
	if err != nil {
		return 0, fmt.Errorf("shader %s: %w", label, kind(err))
	}
	defer module.Release()
	ref, err := g.device.CreateComputePipeline(&wgpu.ComputePipelineDescriptor{
		Label: label, Layout: l.pipeline, Compute: wgpu.ProgrammableStageDescriptor{Module: module, EntryPoint: entry},
	})
	if err != nil {
		return 0, fmt.Errorf("shader %s, entry point %s: %w", label, entry, kind(err))
	}
	g.pipelines = append(g.pipelines, pipeline{ref, l, append([]webgpu.Binding(nil), bindings...)})
	return webgpu.Pipeline(len(g.pipelines)), nil
}

// layout makes the layout of bindings once.
func (g *gpu) layout(bindings []webgpu.Binding) (layout, error) {
	key := fmt.Sprint(bindings)
	if l, ok := g.layouts[key]; ok {
		return l, nil
	}
	var entries []wgpu.BindGroupLayoutEntry
	for i, b := range bindings {
		e := wgpu.BufferBindingLayout{Type: wgpu.BufferBindingType_ReadOnlyStorage}
		switch b {
		case webgpu.ReadWrite:
			e.Type = wgpu.BufferBindingType_Storage
		case webgpu.DynamicUniform:
			e = wgpu.BufferBindingLayout{Type: wgpu.BufferBindingType_Uniform, HasDynamicOffset: true}
		}
		entries = append(entries, wgpu.BindGroupLayoutEntry{Binding: uint32(i), Visibility: wgpu.ShaderStage_Compute, Buffer: e})
	}
	bound, err := g.device.CreateBindGroupLayout(&wgpu.BindGroupLayoutDescriptor{Entries: entries})
	if err != nil {
		return layout{}, kind(err)
	}
	whole, err := g.device.CreatePipelineLayout(&wgpu.PipelineLayoutDescriptor{BindGroupLayouts: []*wgpu.BindGroupLayout{bound}})
	if err != nil {
		bound.Release()
		return layout{}, kind(err)
	}
	l := layout{bound, whole}
	g.layouts[key] = l
	return l, nil
}

// pipeline looks a number up; a wrong one is a failure.
func (g *gpu) pipeline(p webgpu.Pipeline) (pipeline, bool) {
	if p < 1 || int(p) > len(g.pipelines) {
		g.fail(fmt.Errorf("pipeline %d does not exist", p))
		return pipeline{}, false
	}
	return g.pipelines[p-1], true
}

func (g *gpu) CreateBindGroup(p webgpu.Pipeline, ranges []webgpu.Range) (webgpu.BindGroup, error) {
	line, ok := g.pipeline(p)
	if g.err != nil || !ok {
		return 0, g.err
	}
	dynamic, err := webgpu.Bound(ranges, line.bindings, func(b webgpu.Buffer) (int, error) {
		have, _ := g.buffer(b)
		return have.size, g.err
	})
	if err != nil {
		return 0, err
	}
	var entries []wgpu.BindGroupEntry
	made := group{dynamic: dynamic >= 0}
	for i, r := range ranges {
		b := g.buffers[r.Buffer-1]
		made.names, made.buffers = append(made.names, r.Buffer), append(made.buffers, b.ref)
		entries = append(entries, wgpu.BindGroupEntry{Binding: uint32(i), Buffer: b.ref, Offset: uint64(r.Offset), Size: uint64(r.Size)})
	}
	if made.ref, err = g.device.CreateBindGroup(&wgpu.BindGroupDescriptor{Layout: line.layout.group, Entries: entries}); err != nil {
		return 0, kind(err)
	}
	return webgpu.BindGroup(put(&g.groups, &g.free.groups, made)), nil
}

// group looks a number up; a wrong one is a failure.
func (g *gpu) group(b webgpu.BindGroup) (group, bool) {
	if b < 1 || int(b) > len(g.groups) || g.groups[b-1].ref == nil {
		g.fail(fmt.Errorf("bind group %d does not exist", b))
		return group{}, false
	}
	return g.groups[b-1], true
}

func (g *gpu) DestroyBindGroup(b webgpu.BindGroup) {
	have, ok := g.group(b)
	if !ok {
		return
	}
	have.ref.Release()
	g.groups[b-1] = group{}
	g.free.groups = append(g.free.groups, int32(b))
}

// live says whether the group's buffers still exist: the library ends the process
// when work is submitted that needs one that does not.
func (g *gpu) live(have group) bool {
	for i, b := range have.names {
		if g.buffers[b-1].ref != have.buffers[i] {
			return false
		}
	}
	return true
}
