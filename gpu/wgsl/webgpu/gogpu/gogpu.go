//go:build gogpu && !js

package gogpu

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/gogpu/gputypes"
	"github.com/gogpu/wgpu"
	_ "github.com/gogpu/wgpu/hal/allbackends" // the backends of this system

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

	buffers   []*wgpu.Buffer // nil where destroyed
	pipelines []pipeline
	groups    []group
	staging   *wgpu.Buffer // what Read maps
	unsent    int          // bytes written since the last submit
	allocated int64
	err       error // the first failure; after it nothing runs
}

// Open opens the default adapter.
func Open() (webgpu.GPU, error) {
	instance, err := wgpu.CreateInstance(nil)
	if err != nil {
		return nil, err
	}
	adapter, err := instance.RequestAdapter(nil)
	if err != nil {
		instance.Release()
		return nil, fmt.Errorf("no WebGPU adapter: %w", err)
	}
	have, want := adapter.Limits(), gputypes.DefaultLimits()
	want.MaxStorageBufferBindingSize, want.MaxBufferSize = have.MaxStorageBufferBindingSize, have.MaxBufferSize
	want.MaxComputeWorkgroupStorageSize = have.MaxComputeWorkgroupStorageSize
	device, err := adapter.RequestDevice(&wgpu.DeviceDescriptor{RequiredLimits: want})
	if err != nil {
		adapter.Release()
		instance.Release()
		return nil, err
	}
	i, l := adapter.Info(), device.Limits()
	g := &gpu{instance: instance, adapter: adapter, device: device, queue: device.Queue(), info: webgpu.Info{
		Name: i.Name, Vendor: i.Vendor, Driver: strings.TrimSpace(i.Driver + " " + i.DriverInfo), Backend: strings.ToLower(i.Backend.String()),
		Software:   i.DeviceType == gputypes.DeviceTypeCPU,
		MaxBinding: int(min(uint64(l.MaxStorageBufferBindingSize), math.MaxInt32&^255)), MaxBuffer: int(min(l.MaxBufferSize, math.MaxInt32&^255)),
		MaxWorkgroups: int(l.MaxComputeWorkgroupsPerDimension), MaxInvocations: int(l.MaxComputeInvocationsPerWorkgroup),
		MaxWorkgroupStorage: int(l.MaxComputeWorkgroupStorageSize), MaxStorageBuffers: int(l.MaxStorageBuffersPerShaderStage),
		UniformAlignment: int(l.MinUniformBufferOffsetAlignment),
	}}
	if g.info.Software {
		g.info.Memory = compute.HostMemory()
	}
	return g, nil
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
	switch {
	case errors.Is(err, wgpu.ErrOutOfMemory):
		return fmt.Errorf("%w: %w", compute.ErrMemory, err)
	case errors.Is(err, wgpu.ErrDeviceLost):
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
	flags := wgpu.BufferUsageStorage | wgpu.BufferUsageCopySrc | wgpu.BufferUsageCopyDst
	if use == webgpu.Uniform {
		flags = wgpu.BufferUsageUniform | wgpu.BufferUsageCopySrc | wgpu.BufferUsageCopyDst
	}
	b, err := g.device.CreateBuffer(&wgpu.BufferDescriptor{Usage: flags, Size: uint64(bytes)})
	if err != nil {
		return 0, kind(err)
	}
	g.allocated += int64(bytes)
	g.buffers = append(g.buffers, b)
	return webgpu.Buffer(len(g.buffers)), nil
}

// buffer looks up a number and checks that so many bytes lie inside it; what is
// wrong is a failure, and nil.
func (g *gpu) buffer(b webgpu.Buffer, offset, bytes int) *wgpu.Buffer {
	if b < 1 || int(b) > len(g.buffers) || g.buffers[b-1] == nil {
		g.fail(fmt.Errorf("buffer %d does not exist", b))
		return nil
	}
	have := g.buffers[b-1]
	if err := webgpu.CheckWords(offset, bytes, int(have.Size())); err != nil {
		g.fail(err)
		return nil
	}
	return have
}

func (g *gpu) DestroyBuffer(b webgpu.Buffer) {
	if have := g.buffer(b, 0, 0); have != nil {
		g.allocated -= int64(have.Size())
		have.Release() // once queued work no longer needs it
		g.buffers[b-1] = nil
	}
}

func (g *gpu) Close() error {
	err := g.Wait()
	g.device.Release()
	g.adapter.Release()
	g.instance.Release()
	g.fail(errors.New("the adapter is closed"))
	return err
}
