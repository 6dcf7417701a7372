package cpu

import (
	"fmt"
	"testing"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tiledCases reach whole and part panels, several images in a block, blocks of
// all widths and, the last ones, several stages.
var tiledCases = []struct{ kind, out, in, n, h, w int }{
	{0, 32, 32, 1, 16, 16}, {0, 30, 37, 3, 16, 16}, {0, 40, 29, 2, 48, 32}, {0, 33, 40, 1, 16, 64},
	{0, 32, 48, 5, 16, 16}, {0, 8, 560, 1, 32, 48}, {0, 8, 560, 5, 16, 16},
	{1, 32, 30, 1, 8, 8}, {1, 33, 40, 7, 8, 8}, {1, 48, 60, 1, 12, 16}, {1, 70, 65, 3, 24, 24},
}

func TestTilesAreTheirDefinition(t *testing.T) {
	devices(t, func(t *testing.T, d *Device) {
		d.tileFrom = [len(schemes)]int{}
		for _, c := range tiledCases {
			require.Equal(t, c.kind, d.winogradFor(c.in, c.out, c.h, c.w), "%+v is not tiled so", c)
			checkConv(t, d, compute.ConvShape{Out: c.out, In: c.in, Kernel: 3}, c.n, c.h, c.w, 4e-6)
		}
	})
}

// A block of images is what each of them is alone, to the last bit, on any
// number of threads.
func TestTilesDoNotDependOnTheirNeighbours(t *testing.T) {
	for _, k := range available() {
		const out, in, h, w, n = 24, 32, 16, 32, 5
		s := compute.ConvShape{Out: out, In: in, Kernel: 3}
		x, weight := random(1, n*in*h*w), random(2, out*in*9)
		var first []float32
		for _, threads := range []int{1, 2, 7} {
			d := newDevice(threads, k)
			d.tileFrom = [len(schemes)]int{}
			prepared, err := d.PrepareConv(s, weight, nil)
			require.NoError(t, err)
			src, dst := view(t, d, x, n, in, h, w), empty(t, d, n, out, h, w)
			d.Conv(dst, src, prepared, compute.ConvMode{})
			all := values(t, d, dst)
			if first == nil {
				first = all
			}
			assert.Equal(t, first, all, "%s, %d threads", k.name, threads)
			alone := empty(t, d, 1, out, h, w)
			for i := range n {
				d.Conv(alone, src.Images(i, i+1), prepared, compute.ConvMode{})
				assert.Equal(t, all[i*out*h*w:][:out*h*w], values(t, d, alone), "%s, image %d", k.name, i)
			}
			require.NoError(t, d.Close())
		}
	}
}

func TestTileTransformsAreTheirTwins(t *testing.T) {
	vector(t, func(t *testing.T, k *kernels) {
		for kind, s := range schemes {
			const pitch, width, groups = 80, 64, 3
			const stride = 16*groups + 5
			var at, pixels []int
			for _, run := range []int{0, 1, 2, 3, 10, 11, 12, 13, 0, 2, 1, 13} {
				y, x := run/10*s.size, run%10*s.run
				at, pixels = append(at, y*pitch+x), append(pixels, y*width+x)
			}
			x := random(1, 10*pitch+20)
			tmp := make([]float32, tileScratch)
			// The order of the tiles among 16 is the kernels' own: only both
			// transforms together can be compared, here with a weight per point.
			both := func(k *kernels, bias float32, add []float32) []float32 {
				v, y := make([]float32, s.points*stride), random(3, 8*width)
				k.winograd[kind].in(v, stride, x, pitch, at, 0, tmp)
				for p := range s.points {
					for i := range 16 * groups {
						v[p*stride+i] *= float32(p%7) - 2.5
					}
				}
				k.winograd[kind].out(y, width, pixels, v, stride, tmp, bias, add)
				return y
			}
			for _, add := range [][]float32{nil, random(4, 8*width)} {
				want, got := both(generic, 0.7, add), both(k, 0.7, add)
				like(t, want, got, len(want), 1e-6, fmt.Sprint(s.size, add != nil))
			}
		}
	})
}
