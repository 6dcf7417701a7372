//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package native

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/rajveermalviya/go-webgpu/wgpu"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Available says whether this build holds the driver.
const Available = true

// gpu is an adapter, its device and everything that was made on it. Numbers that
// the driver gives out are indices plus one.
type gpu struct {
	instance *wgpu.Instance
	adapter  *wgpu.Adapter
	device   *wgpu.Device
	queue    *wgpu.Queue
	info     webgpu.Info

	buffers   []buffer
	pipelines []pipeline
	groups    []group
	free      struct{ buffers, groups []int32 } // numbers that can be given out again
	layouts   map[string]layout

	staging   *wgpu.Buffer // what Read maps
	unsent    int          // bytes written since the last submit
	pace      pace
	allocated int64
	err       error // the first failure; after it nothing runs
}

type buffer struct {
	ref  *wgpu.Buffer
	size int
}

// Open opens the fastest adapter.
func Open() (webgpu.GPU, error) {
	g := &gpu{layouts: map[string]layout{}, pace: newPace()}
	g.instance = wgpu.CreateInstance(&wgpu.InstanceDescriptor{Backends: wgpu.InstanceBackend_Primary})
	if g.adapter = fastest(g.instance); g.adapter == nil {
		g.instance.Release()
		return nil, errors.New("no WebGPU adapter: a Vulkan, Metal or Direct3D 12 driver is needed (on Linux a software one comes with the package mesa-vulkan-drivers)")
	}
	have := g.adapter.GetLimits().Limits
	want := wgpu.DefaultLimits()
	want.MaxStorageBufferBindingSize = have.MaxStorageBufferBindingSize
	want.MaxBufferSize = have.MaxBufferSize
	want.MaxStorageBuffersPerShaderStage = have.MaxStorageBuffersPerShaderStage
	want.MaxComputeWorkgroupStorageSize = have.MaxComputeWorkgroupStorageSize
	want.MaxComputeInvocationsPerWorkgroup = have.MaxComputeInvocationsPerWorkgroup
	want.MaxComputeWorkgroupSizeX = have.MaxComputeWorkgroupSizeX
	want.MaxComputeWorkgroupSizeY = have.MaxComputeWorkgroupSizeY
	want.MaxComputeWorkgroupsPerDimension = have.MaxComputeWorkgroupsPerDimension
	p := g.adapter.GetProperties()
	var err error
	if g.device, err = g.adapter.RequestDevice(&wgpu.DeviceDescriptor{RequiredLimits: &wgpu.RequiredLimits{Limits: want}}); err != nil {
		g.adapter.Release()
		g.instance.Release()
		return nil, fmt.Errorf("adapter %s: %w", p.Name, err)
	}
	g.queue = g.device.GetQueue()
	g.info = describe(p, g.device.GetLimits().Limits)
	return g, nil
}

// fastest returns the adapter of the kind that is usually fastest; nil where there is none.
func fastest(i *wgpu.Instance) *wgpu.Adapter {
	rank := func(a *wgpu.Adapter) int {
		switch a.GetProperties().AdapterType {
		case wgpu.AdapterType_DiscreteGPU:
			return 3
		case wgpu.AdapterType_IntegratedGPU:
			return 2
		case wgpu.AdapterType_CPU:
			return 0
		}
		return 1
	}
	var best *wgpu.Adapter
	for _, a := range i.EnumerateAdapters(&wgpu.InstanceEnumerateAdapterOptons{Backends: wgpu.InstanceBackend_Primary}) {
		if best == nil || rank(a) > rank(best) {
			best, a = a, best
		}
		if a != nil {
			a.Release()
		}
	}
	return best
}

func describe(p wgpu.AdapterProperties, l wgpu.Limits) webgpu.Info {
	software := p.AdapterType == wgpu.AdapterType_CPU
	return webgpu.Info{
		Name: p.Name, Vendor: vendor(p), Driver: p.DriverDescription, Backend: strings.ToLower(p.BackendType.String()), Software: software,
		MaxBinding:          size(l.MaxStorageBufferBindingSize),
		MaxBuffer:           size(l.MaxBufferSize),
		MaxWorkgroups:       int(l.MaxComputeWorkgroupsPerDimension),
		MaxInvocations:      int(l.MaxComputeInvocationsPerWorkgroup),
		MaxWorkgroupStorage: int(l.MaxComputeWorkgroupStorageSize),
		MaxStorageBuffers:   int(l.MaxStorageBuffersPerShaderStage),
		UniformAlignment:    int(l.MinUniformBufferOffsetAlignment),
		Memory:              memory(software, p),
	}
}

// memory returns how many bytes may be allocated; 0 where nobody says.
func memory(software bool, p wgpu.AdapterProperties) int64 {
	if software {
		return compute.HostMemory()
	}
	return adapterMemory(p.VendorId, p.DeviceId)
}

// size limits a limit to what the device will ever ask for in one piece.
func size(limit uint64) int { return int(min(limit, math.MaxInt32&^255)) }

func vendor(p wgpu.AdapterProperties) string {
	if p.VendorName != "" {
		return p.VendorName
	}
	if name, ok := map[uint32]string{0x1002: "AMD", 0x106b: "Apple", 0x10005: "Mesa", 0x10de: "NVIDIA", 0x13b5: "Arm", 0x1414: "Microsoft", 0x5143: "Qualcomm", 0x8086: "Intel"}[p.VendorId]; ok {
		return name
	}
	return fmt.Sprintf("vendor %#x", p.VendorId)
}

func (g *gpu) Info() webgpu.Info { return g.info }

// fail keeps the first failure.
func (g *gpu) fail(err error) {
	if g.err == nil && err != nil {
		g.err = kind(err)
	}
}

// kind gives an error of the library the kind that callers ask for.
func kind(err error) error {
	text := strings.ToLower(err.Error())
	switch {
	case strings.Contains(text, "out of memory") || strings.Contains(text, "not enough memory"):
		return fmt.Errorf("%w: %w", compute.ErrMemory, err)
	case strings.Contains(text, "lost"):
		return fmt.Errorf("%w: %w", compute.ErrLost, err)
	}
	return err
}

func (g *gpu) CreateBuffer(bytes int, use webgpu.Usage) (webgpu.Buffer, error) {
	if g.err != nil {
		return 0, g.err
	}
	bytes = max(4, (bytes+3)&^3)
	if err := g.info.CheckSize(bytes, g.allocated); err != nil {
		return 0, err
	}
	flags := wgpu.BufferUsage_Storage | wgpu.BufferUsage_CopySrc | wgpu.BufferUsage_CopyDst
	if use == webgpu.Uniform {
		flags = wgpu.BufferUsage_Uniform | wgpu.BufferUsage_CopySrc | wgpu.BufferUsage_CopyDst
	}
	ref, err := g.device.CreateBuffer(&wgpu.BufferDescriptor{Usage: flags, Size: uint64(bytes)})
	if err != nil {
		return 0, kind(err)
	}
	g.allocated += int64(bytes)
	return webgpu.Buffer(put(&g.buffers, &g.free.buffers, buffer{ref, bytes})), nil
}

// put stores a value under a free number, or a new one.
func put[T any](all *[]T, free *[]int32, v T) int32 {
	if n := len(*free); n > 0 {
		id := (*free)[n-1]
		*free = (*free)[:n-1]
		(*all)[id-1] = v
		return id
	}
	*all = append(*all, v)
	return int32(len(*all))
}

// buffer looks a number up; a wrong one is a failure.
func (g *gpu) buffer(b webgpu.Buffer) (buffer, bool) {
	if b < 1 || int(b) > len(g.buffers) || g.buffers[b-1].ref == nil {
		g.fail(fmt.Errorf("buffer %d does not exist", b))
		return buffer{}, false
	}
	return g.buffers[b-1], true
}

func (g *gpu) DestroyBuffer(b webgpu.Buffer) {
	have, ok := g.buffer(b)
	if !ok {
		return
	}
	have.ref.Destroy() // the library waits for queued work that needs it
	have.ref.Release()
	g.allocated -= int64(have.size)
	g.buffers[b-1] = buffer{}
	g.free.buffers = append(g.free.buffers, int32(b))
}

// Close waits, because the library may release a device only when it is idle.
func (g *gpu) Close() error {
	err := g.Wait()
	for _, s := range g.groups {
		if s.ref != nil {
			s.ref.Release()
		}
	}
	for _, p := range g.pipelines {
		p.ref.Release()
	}
	for _, l := range g.layouts {
		l.pipeline.Release()
		l.group.Release()
	}
	for _, b := range g.buffers {
		if b.ref != nil {
			b.ref.Release()
		}
	}
	if g.staging != nil {
		g.staging.Release()
	}
	g.queue.Release()
	g.device.Release()
	g.adapter.Release()
	g.instance.Release()
	g.fail(errors.New("the adapter is closed"))
	return err
}
