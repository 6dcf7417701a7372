// Package wgsl is the compute device of a WebGPU adapter: the kernels are WGSL,
// one a file, and the adapter is reached through the narrow interface of package
// webgpu, natively or in a browser.
//
// Kernels that push coefficients of directional derivatives have the entry points
// jvp_… for the tangent (Jacobian-vector products, and with two of them the
// products with Hessians) and jet2_… for the second coefficient, from which the
// third derivative along a direction comes.
package wgsl

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/gpu/wgsl/webgpu"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Device computes on a WebGPU adapter.
type Device struct {
	compute.Guard
	gpu       webgpu.GPU
	limits    webgpu.Info
	stream    *stream
	pipelines map[string]webgpu.Pipeline
	groups    map[binding]webgpu.BindGroup
	memory    memory
	scratch   [scratches]*block
	variants  map[int][]*variant // of convolutions, by kernel size
	tuned     map[class]*variant
	trials    trials // beyond this device; nil for none
	tuneFrom  float64
	precision Precision
	tiles     bool    // convolutions in tiles of Winograd's where they pay
	staged    int     // floats of tiles at a time
	subgroups bool    // sums of workgroups by subgroups, where the driver takes them
	immediate *stream // the stream when nothing is recorded
	poisons   bool    // blocks are full of NaN when they are handed out, see compute.Poison
}

var (
	_ compute.Device   = (*Device)(nil)
	_ compute.Recorder = (*Device)(nil)
	_ compute.Drawer   = (*Device)(nil)
	_ compute.Reserver = (*Device)(nil)
)

// Options say how a device computes; the zero value is the usual.
type Options struct {
	Precision Precision
}

// New returns a device on an adapter, which it closes when it is closed.
func New(gpu webgpu.GPU, o Options) (*Device, error) {
	d := &Device{gpu: gpu, limits: gpu.Info(), precision: o.Precision,
		pipelines: map[string]webgpu.Pipeline{}, groups: map[binding]webgpu.BindGroup{}}
	d.Guard = compute.NewGuard("webgpu", d.owns)
	if least := 8; d.limits.MaxStorageBuffers < least || d.limits.MaxInvocations < 64 {
		return nil, fmt.Errorf("webgpu: adapter %s binds %d arrays to a kernel of %d invocations: %d and 64 are needed",
			d.limits.Name, d.limits.MaxStorageBuffers, d.limits.MaxInvocations, least)
	}
	if d.precision == F16 && !d.limits.F16 {
		return nil, fmt.Errorf("webgpu: adapter %s (%s, %s) computes no f16 through this driver; try %s, the usual precision, or a browser, whose driver may have f16",
			d.limits.Name, d.limits.Driver, d.limits.Backend, F32)
	}
	d.memory = memory{most: d.limits.Memory, pool: map[int][]*block{}}
	tiles, err := compute.Switch("CMI_WINOGRAD")
	if err != nil {
		return nil, fmt.Errorf("webgpu: %w", err)
	}
	subgroups, err := compute.Switch("CMI_SUBGROUPS")
	if err != nil {
		return nil, fmt.Errorf("webgpu: %w", err)
	}
	if d.poisons, err = compute.Poison(); err != nil {
		return nil, fmt.Errorf("webgpu: %w", err)
	}
	if d.stream, err = d.newStream(false); err != nil {
		return nil, err
	}
	// In f16 the rounding errors of tiles would be several times those of the direct sum.
	d.tiles = d.precision == F32 && tiles
	d.immediate, d.staged = d.stream, stagedFloats
	d.subgroups = d.limits.Subgroups && subgroups
	d.tuned, d.tuneFrom = map[class]*variant{}, hardwareTune
	if d.limits.Software {
		d.tuneFrom = softwareTune
	}
	if d.variants, err = variantsOf(d); err != nil {
		return nil, err
	}
	return d, nil
}

// Info implements [compute.Device].
func (d *Device) Info() compute.Info {
	l := d.limits
	description := fmt.Sprintf("%s, %s, %s", l.Name, l.Driver, l.Backend)
	if d.precision != F32 {
		description += ", " + d.precision.String()
	}
	return compute.Info{
		Name:        "webgpu",
		Description: description,
		Software:    l.Software,
		Memory:      d.free(),
		MaxArray:    int64(min(l.MaxBinding, l.MaxBuffer)),
		Rounding:    d.precision.rounding(),
	}
}

// Sync implements [compute.Memory].
func (d *Device) Sync() error {
	d.stream.flush()
	if d.Err() == nil {
		d.Fail(d.gpu.Wait())
	}
	return d.Err()
}

// Close implements [compute.Device].
func (d *Device) Close() error {
	d.stream.flush()
	d.Fail(d.gpu.Close())
	return d.Err()
}
