//go:build gogpu && !js

package gogpu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gogpu/gputypes"
	"github.com/gogpu/wgpu"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
)

type pipeline struct {
	ref      *wgpu.ComputePipeline
	layout   *wgpu.BindGroupLayout
	bindings []webgpu.Binding
}

type group struct {
	ref     *wgpu.BindGroup // nil where destroyed
	ranges  []webgpu.Range
	buffers []*wgpu.Buffer // of the ranges when the group was made
	uniform int            // the range with a dynamic offset; −1 for none
}

func (g *gpu) CreatePipeline(label, wgsl, entry string, bindings []webgpu.Binding) (p webgpu.Pipeline, err error) {
	if g.err != nil {
		return 0, g.err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("shader %s, entry point %s: %w", label, entry, kind(err))
		}
	}()
	if n := strings.Count(wgsl, "@binding("); n > len(bindings) { // the library does not look
		return 0, fmt.Errorf("the shader has %d bindings, %d are given", n, len(bindings))
	}
	module, err := g.device.CreateShaderModule(&wgpu.ShaderModuleDescriptor{Label: label, WGSL: wgsl})
	if err != nil {
		return 0, err
	}
	defer module.Release()
	var entries []gputypes.BindGroupLayoutEntry
	for i, b := range bindings {
		l := gputypes.BufferBindingLayout{Type: gputypes.BufferBindingTypeReadOnlyStorage}
		switch b {
		case webgpu.ReadWrite:
			l.Type = gputypes.BufferBindingTypeStorage
		case webgpu.DynamicUniform:
			l.Type, l.HasDynamicOffset = gputypes.BufferBindingTypeUniform, true
		}
		entries = append(entries, gputypes.BindGroupLayoutEntry{Binding: uint32(i), Visibility: wgpu.ShaderStageCompute, Buffer: &l})
	}
	layout, err := g.device.CreateBindGroupLayout(&wgpu.BindGroupLayoutDescriptor{Entries: entries})
	if err != nil {
		return 0, err
	}
	whole, err := g.device.CreatePipelineLayout(&wgpu.PipelineLayoutDescriptor{BindGroupLayouts: []*wgpu.BindGroupLayout{layout}})
	if err != nil {
		return 0, err
	}
	ref, err := g.device.CreateComputePipeline(&wgpu.ComputePipelineDescriptor{Label: label, Layout: whole, Module: module, EntryPoint: entry})
	if err != nil {
		return 0, err
	}
	g.pipelines = append(g.pipelines, pipeline{ref, layout, slices.Clone(bindings)})
	return webgpu.Pipeline(len(g.pipelines)), nil
}

func (g *gpu) CreateBindGroup(p webgpu.Pipeline, ranges []webgpu.Range) (webgpu.BindGroup, error) {
	if g.err == nil && (p < 1 || int(p) > len(g.pipelines)) {
		g.fail(fmt.Errorf("pipeline %d does not exist", p))
	}
	if g.err != nil {
		return 0, g.err
	}
	line := g.pipelines[p-1]
	dynamic, err := webgpu.Bound(ranges, line.bindings, func(b webgpu.Buffer) (int, error) {
		if have := g.buffer(b, 0, 0); have != nil {
			return int(have.Size()), nil
		}
		return 0, g.err
	})
	if err != nil {
		return 0, err
	}
	made := group{ranges: slices.Clone(ranges), uniform: dynamic}
	var entries []wgpu.BindGroupEntry
	for i, r := range ranges {
		b := g.buffers[r.Buffer-1]
		made.buffers = append(made.buffers, b)
		entries = append(entries, wgpu.BindGroupEntry{Binding: uint32(i), Buffer: b, Offset: uint64(r.Offset), Size: uint64(r.Size)})
	}
	if made.ref, err = g.device.CreateBindGroup(&wgpu.BindGroupDescriptor{Layout: line.layout, Entries: entries}); err != nil {
		return 0, kind(err)
	}
	g.groups = append(g.groups, made)
	return webgpu.BindGroup(len(g.groups)), nil
}

func (g *gpu) DestroyBindGroup(b webgpu.BindGroup) {
	if b < 1 || int(b) > len(g.groups) || g.groups[b-1].ref == nil {
		g.fail(fmt.Errorf("bind group %d does not exist", b))
		return
	}
	g.groups[b-1].ref.Release()
	g.groups[b-1] = group{}
}
