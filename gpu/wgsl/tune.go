package wgsl

import (
	"fmt"
	"time"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// class is what the fastest variant of a convolution depends on.
type class struct {
	kernel, in, out, height, width, images int
}

// variant returns the fastest variant of a convolution. For one that takes long enough
// it is found by a trial, once for each class of shapes, see [Device.Remember].
func (d *Device) variant(c *convolution, kernel int) *variant {
	possible := d.variants[kernel]
	k := class{kernel, c.src.C, c.dst.C, c.dst.H, c.dst.W, c.dst.N}
	if v, ok := d.tuned[k]; ok {
		return v
	}
	v := possible[0]
	if work := 2 * float64(c.dst.N*c.dst.Len()*c.src.C*kernel*kernel); work >= d.tuneFrom {
		v = d.fastest(c, k, possible)
	} else if kernel == 3 && c.dst.H*c.dst.W <= 64 && d.limits.Software && !v.half {
		v = possible[1] // smaller tiles
	}
	d.tuned[k] = v
	return v
}

// fastest returns what a trial finds, or an earlier one has found.
func (d *Device) fastest(c *convolution, k class, possible []*variant) *variant {
	if d.trials != nil {
		if v := d.trials.find(k, possible); v != nil {
			return v
		}
	}
	v := d.trial(c, possible)
	if v == nil {
		return possible[0]
	}
	if d.trials != nil {
		d.trials.add(k, v)
	}
	return v
}

// trials are results that outlive the device.
type trials interface {
	find(k class, possible []*variant) *variant // nil where there is none
	add(class, *variant)
}

// Trials are worth while for convolutions of so many operations, which take some
// milliseconds.
const (
	softwareTune = 1e8
	hardwareTune = 2e9
)

// trial times variants on scratch arrays of the convolution's shape; nil where that
// fails. Its dispatches go to the adapter at once, also while a recording is made.
func (d *Device) trial(c *convolution, possible []*variant) (best *variant) {
	d.now(func() { best = d.tried(c, possible) })
	return best
}

func (d *Device) tried(c *convolution, possible []*variant) *variant {
	blank := func(t compute.Tensor) compute.Tensor {
		b, err := d.acquire(4 * t.N * t.Len())
		if err != nil {
			return compute.Tensor{} // no room to try
		}
		return compute.Dense(&buffer{b, d, t.N * t.Len()}, t.N, t.C, t.H, t.W)
	}
	try := *c
	try.src, try.dst = blank(c.src), blank(c.dst)
	for _, t := range []compute.Tensor{try.src, try.dst} {
		if t.Buf == nil {
			return nil
		}
		defer d.release(t.Buf.(*buffer).block)
	}
	// What is there may be anything; zeros take as long as numbers.
	d.Combine(try.src, compute.Times(0, try.src))
	try.add = try.dst
	var best *variant
	least := time.Duration(1 << 62)
	for _, v := range possible {
		v.run(d, &try, v) // compiles
		if d.Sync() != nil {
			return nil
		}
		for range 2 {
			start := time.Now()
			v.run(d, &try, v)
			if d.Sync() != nil {
				return nil
			}
			if took := time.Since(start); took < least {
				best, least = v, took
			}
		}
	}
	return best
}

// variantsOf lists the variants that an adapter can run.
func variantsOf(d *Device) (map[int][]*variant, error) {
	all := hardwareVariants
	switch {
	case d.precision == F16:
		all = f16Variants
	case d.limits.Software:
		all = softwareVariants
	}
	can := map[int][]*variant{}
	for _, v := range all {
		if v.invocations <= d.limits.MaxInvocations && v.storage <= d.limits.MaxWorkgroupStorage {
			can[v.kernel] = append(can[v.kernel], v)
		}
	}
	if len(can[1]) == 0 || len(can[3]) == 0 {
		return nil, fmt.Errorf("webgpu: adapter %s can run no convolution", d.limits.Name)
	}
	return can, nil
}
