//go:build js

package simd

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// field is numbers of about unit size without a pattern.
func field(seed, n int) []float32 {
	x := make([]float32, n)
	state := uint32(seed)*2654435761 + 1
	for i := range x {
		state = state*1664525 + 1013904223
		x[i] = float32(state>>8)/(1<<23) - 1
	}
	return x
}

// both runs a computation on this device and on the reference, and compares.
func both(t *testing.T, bound float64, run func(d compute.Device) []float32) {
	t.Helper()
	ref := cpu.New(1)
	defer ref.Close()
	want, got := run(ref), run(open(t))
	require.Len(t, got, len(want))
	var diff, norm float64
	for i, w := range want {
		diff += math.Pow(float64(got[i])-float64(w), 2)
		norm += float64(w) * float64(w)
	}
	assert.Less(t, math.Sqrt(diff/norm), bound)
}

// Convolutions of networks' sizes, larger than those of the conformance suite: in
// tiles of both kinds, in several stages, several images to a stage, direct sums in
// several ranges of rows.
func TestConvOfNetworks(t *testing.T) {
	for _, c := range []struct{ n, in, out, h, w, kernel, scheme int }{
		{1, 32, 32, 64, 64, 3, 0}, {3, 64, 64, 32, 32, 3, 0}, {2, 160, 9, 64, 64, 3, 0}, {1, 128, 70, 16, 32, 3, 0}, {3, 96, 64, 16, 16, 3, 0},
		{3, 128, 128, 8, 8, 3, 1}, {4, 1200, 120, 16, 16, 3, 1}, {2, 200, 10, 50, 37, 3, -1}, {1, 3, 32, 64, 64, 3, -1}, {2, 96, 50, 30, 31, 1, -1}, {20, 130, 66, 1, 1, 1, -1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			if c.kernel == 3 {
				require.Equal(t, c.scheme, schemeFor(c.in, c.out, c.h, c.w), "the case is for another scheme")
			}
			hw := c.h * c.w
			for _, adjoint := range []bool{false, true} {
				both(t, 5e-6, func(d compute.Device) []float32 {
					in, out := c.in, c.out
					if adjoint {
						in, out = out, in
					}
					w, err := d.PrepareConv(compute.ConvShape{Out: c.out, In: c.in, Kernel: c.kernel}, field(1, c.in*c.out*c.kernel*c.kernel), field(2, c.out))
					require.NoError(t, err)
					defer w.Free()
					x, err := compute.FromHost(d, field(3, c.n*in*hw), c.n, in, c.h, c.w)
					require.NoError(t, err)
					y, err := compute.FromHost(d, field(4, c.n*out*hw), c.n, out, c.h, c.w)
					require.NoError(t, err)
					d.Conv(y, x, w, compute.ConvMode{Adjoint: adjoint, Bias: !adjoint, Add: y})
					values, err := compute.ToHost(d, y)
					require.NoError(t, err)
					return values
				})
			}
		})
	}
}

// Attention over many tokens and its derivatives.
func TestAttentionOfNetworks(t *testing.T) {
	const n, heads, ch, side = 2, 2, 32, 20
	h := compute.Heads{Count: heads}
	for name, run := range map[string]func(d compute.Device, dst, x, a, b, ab, dy, dx compute.Tensor) compute.Tensor{
		"value": func(d compute.Device, dst, x, _, _, _, _, _ compute.Tensor) compute.Tensor {
			d.Attention(dst, x, h)
			return dst
		},
		"tangent": func(d compute.Device, dst, x, a, _, _, _, _ compute.Tensor) compute.Tensor {
			d.AttentionTangent(dst, x, a, h)
			return dst
		},
		"second": func(d compute.Device, dst, x, a, b, ab, _, _ compute.Tensor) compute.Tensor {
			d.AttentionSecond(dst, x, a, b, ab, h)
			return dst
		},
		"adjoint": func(d compute.Device, _, x, _, _, _, dy, dx compute.Tensor) compute.Tensor {
			d.AttentionAdjoint(dx, x, dy, h, true)
			return dx
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, 5e-6, func(d compute.Device) []float32 {
				ws := compute.NewWorkspace(d)
				defer ws.Free()
				tensor := func(seed, c int) compute.Tensor {
					return ws.FromHost(field(seed, n*c*side*side), n, c, side, side)
				}
				c := heads * ch
				out := run(d, tensor(1, c), tensor(2, 3*c), tensor(3, 3*c), tensor(4, 3*c), tensor(5, 3*c), tensor(6, c), tensor(7, 3*c))
				require.NoError(t, ws.Err())
				values, err := compute.ToHost(d, out)
				require.NoError(t, err)
				return values
			})
		})
	}
}

// Normals are the reference's to the bit, of images in one piece and in several.
func TestNormalsAreTheReferences(t *testing.T) {
	for _, shape := range [][4]int{{3, 3, 64, 64}, {2, 3, 100, 101}, {1, 1, 1, 3}} {
		both(t, 1e-300, func(d compute.Device) []float32 {
			first := make([]compute.PhiloxBlock, shape[0])
			for n := range first {
				stream := diffusion.Stream{Seed: 0xfedcba9876543210, Image: 1<<40 + uint64(n), Step: 999, Draw: 3, Purpose: diffusion.StepNoise}
				first[n].Counter, first[n].Key = stream.First()
			}
			x, err := compute.New(d, shape[0], shape[1], shape[2], shape[3])
			require.NoError(t, err)
			d.(compute.Drawer).Normals(x, first)
			values, err := compute.ToHost(d, x)
			require.NoError(t, err)
			return values
		})
	}
}
