package computetest

import (
	"fmt"
	"math"
	"slices"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// memory: what is written to a view comes back from it, to the last bit and with
// what is not a number, and nothing beside it changes.
func (s *suite) memory() {
	for _, l := range []layout{dense, channels, padded, arena} {
		s.add(true, "memory", "write and read, "+l.String(), 0, func(b *bench) float64 {
			v := b.normal(3, 3, 5, 7)
			copy(v.V, []float64{math.Inf(1), math.Inf(-1), math.MaxFloat32, math.SmallestNonzeroFloat32, 0})
			x := b.source(l, v)
			y := b.poisoned(l, 3, 3, 5, 7)
			b.dev.Write(y, v.Float32())
			want := v.Float32()
			return differing(b.read(x).Float32(), want) + differing(b.read(y).Float32(), want) +
				differing(b.read(x.Images(1, 2)).Float32(), want[105:210])
		})
	}
	s.add(true, "memory", "a write copies at once", 0, func(b *bench) float64 {
		v := b.normal(2, 3, 8, 8).Float32()
		want := slices.Clone(v)
		x := b.poisoned(channels, 2, 3, 8, 8)
		b.dev.Write(x, v)
		clear(v) // the caller may reuse its slice
		return differing(b.read(x).Float32(), want)
	})
	s.add(true, "memory", "many arrays, freed and made again", 0, func(b *bench) float64 {
		var wrong float64
		for i := range 30 {
			buf, err := b.dev.Alloc(100 + i)
			if err != nil || buf.Len() != 100+i {
				b.fail(fmt.Errorf("array %d of %d values: %v", i, 100+i, err))
				return wrong
			}
			v := b.normal(1, 1, 1, 100+i)
			x := b.source(dense, v)
			wrong += differing(b.read(x).Float32(), v.Float32())
			b.dev.Free(buf)
		}
		return wrong
	})
	s.add(true, "memory", "arrays are full of NaN where CMI_POISON is on, new ones and freed ones", 0, func(b *bench) float64 {
		on, err := compute.Poison()
		if err != nil {
			b.fail(err)
		}
		if !on {
			b.fail(Note("CMI_POISON is off"))
			return 0
		}
		const floats = 1000
		var written float64
		for range 3 {
			buf, err := b.dev.Alloc(floats)
			if err != nil {
				b.fail(err)
				return written
			}
			x := compute.Dense(buf, 1, 1, 1, floats)
			for _, v := range b.read(x).V {
				if !math.IsNaN(v) {
					written++
				}
			}
			b.dev.Write(x, make([]float32, floats))
			b.dev.Free(buf)
		}
		return written
	})
	s.add(true, "memory", "sync and the device's name", 0, func(b *bench) float64 {
		if err := b.dev.Sync(); err != nil {
			b.fail(err)
		}
		if info := b.dev.Info(); info.Name == "" || info.Description == "" {
			b.fail(fmt.Errorf("the device should say its name and description, got %+v", info))
		}
		return 0
	})
}

// differing counts values that are not the same.
func differing(got, want []float32) (count float64) {
	for i, w := range want {
		if got[i] != w {
			count++
		}
	}
	return count
}
