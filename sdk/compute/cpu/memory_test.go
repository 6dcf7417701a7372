package cpu

import (
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What convolutions are estimated to take is what they take, once.
func TestConvMemory(t *testing.T) {
	type caseOf struct {
		shape   compute.ConvShape
		n, h, w int
	}
	var cases []caseOf
	for _, c := range convCases {
		cases = append(cases, caseOf(c))
	}
	for _, c := range tiledCases {
		cases = append(cases, caseOf{compute.ConvShape{Out: c.out, In: c.in, Kernel: 3}, c.n, c.h, c.w})
	}
	for _, c := range cases {
		for _, adjoint := range []bool{false, true} {
			d := newDevice(1, available()[0])
			d.tileFrom = [len(schemes)]int{}
			w, err := d.PrepareConv(c.shape, random(1, c.shape.Out*c.shape.In*c.shape.Kernel*c.shape.Kernel), nil)
			require.NoError(t, err)
			lasting, scratch := d.ConvMemory(w, c.n, c.h, c.w, adjoint)
			in, out := c.shape.In, c.shape.Out
			if adjoint {
				in, out = out, in
			}
			d.Conv(empty(t, d, c.n, out, c.h, c.w), view(t, d, random(2, c.n*in*c.h*c.w), c.n, in, c.h, c.w), w, compute.ConvMode{Adjoint: adjoint})
			made := w.(*weights)
			floats := len(made.backward)
			for _, kind := range made.tiled {
				floats += len(kind[0]) + len(kind[1])
			}
			assert.EqualValues(t, 4*floats, lasting, "%+v, adjoint %v", c, adjoint)
			assert.GreaterOrEqual(t, scratch, int64(4*cap(d.stage)), "%+v, adjoint %v", c, adjoint)
			if c.h*c.w > 1 {
				assert.EqualValues(t, 4*cap(d.stage), scratch, "%+v, adjoint %v", c, adjoint)
			}
			lasting, scratch = d.ConvMemory(w, c.n, c.h, c.w, adjoint)
			assert.Zero(t, lasting)
			if c.h*c.w > 1 {
				assert.Zero(t, scratch)
			}
			require.NoError(t, d.Close())
		}
	}
}

// An array that the machine can't hold is refused, and the device goes on.
func TestTooLargeAnArray(t *testing.T) {
	free := compute.HostMemory()
	if free == 0 || free/2 > maxFloats {
		t.Skip("this machine does not say how much memory is free, or has more than one array may take")
	}
	d := New(1)
	defer d.Close()
	assert.Positive(t, d.Info().Memory)
	_, err := d.Alloc(int(free / 2))
	require.ErrorIs(t, err, compute.ErrMemory)
	b, err := d.Alloc(100)
	require.NoError(t, err)
	d.Free(b)
	assert.NoError(t, d.Sync())
}
