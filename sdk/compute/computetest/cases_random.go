package computetest

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
)

// random: a device that draws noise draws the library's own, whatever the view,
// the length and the place in a batch.
func (s *suite) random() {
	for i, shape := range [][4]int{{2, 3, 16, 16}, {3, 1, 5, 7}, {1, 1, 1, 1}, {1, 3, 64, 64}} {
		l := layouts[i%len(layouts)]
		s.add(i < 2, "random", fmt.Sprintf("normals, %v, %v", shape, l), 2e-6, func(b *bench) float64 {
			d, ok := b.dev.(compute.Drawer)
			if !ok {
				b.fail(Skip("this device does not draw noise itself"))
				return 0
			}
			want := NewArray(shape[0], shape[1], shape[2], shape[3])
			dst := b.poisoned(l, shape[0], shape[1], shape[2], shape[3])
			first := make([]compute.PhiloxBlock, shape[0])
			for n := range first {
				stream := diffusion.Stream{Seed: 0x0123456789abcdef, Image: 1<<40 + uint64(7*n), Step: 999, Draw: uint16(n), Purpose: diffusion.StepNoise}
				first[n].Counter, first[n].Key = stream.First()
				image := make([]float32, len(want.V)/shape[0])
				stream.Normals(image)
				for k, v := range image {
					want.V[n*len(image)+k] = float64(v)
				}
			}
			d.Normals(dst, first)
			return RelativeError(b.read(dst).V, want.V)
		})
	}
}
