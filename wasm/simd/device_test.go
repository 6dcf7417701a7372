//go:build js

package simd

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest"
)

func open(t testing.TB) *Device {
	d, err := New("test, "+os.Getenv("CMI_THREADS")+" threads", 1<<32)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestConformance(t *testing.T) {
	devicetest.Ops(t, open(t), testing.Short())
	devicetest.Errors(t, func() (compute.Device, error) { return New("test", 1<<32) })
	devicetest.Cases(t, open(t), computetest.Networks(testing.Short()))
}

// Arrays are freed for good: a thousand rounds of allocation need no more memory
// than one.
func TestMemoryIsReused(t *testing.T) {
	d := open(t)
	round := func() (last address) {
		var all []compute.Buffer
		for i := range 20 {
			b, err := d.Alloc(1000 * (1 + i*i%7))
			require.NoError(t, err)
			all = append(all, b)
			last = max(last, b.(*buffer).at)
		}
		for i := range all { // in another order
			d.Free(all[i*7%20])
		}
		return last
	}
	first := round()
	for range 1000 {
		require.Equal(t, first, round())
	}
}

func TestAllocRefusesWhatIsTooMuch(t *testing.T) {
	d := open(t)
	for _, floats := range []int{-1, 1 << 31, 1<<30 - 1<<22 + 1} {
		_, err := d.Alloc(floats)
		require.Error(t, err, "%d", floats)
	}
	most, err := d.Alloc(3 << 28)
	require.NoError(t, err)
	_, err = d.Alloc(3 << 28)
	require.ErrorIs(t, err, compute.ErrMemory)
	d.Free(most)
	most, err = d.Alloc(3 << 28)
	require.NoError(t, err, "what was freed can be had again")
	d.Free(most)
	require.NoError(t, d.Err())
}

// What is free is what the memory may grow to, less what is allocated.
func TestFreeMemory(t *testing.T) {
	d := open(t)
	before := d.Info().Memory
	require.Less(t, before, int64(1<<32))
	b, err := d.Alloc(1 << 20)
	require.NoError(t, err)
	require.Equal(t, before-4<<20, d.Info().Memory)
	d.Free(b)
	require.Equal(t, before, d.Info().Memory)
	small, err := New("test", 1<<30)
	require.NoError(t, err)
	require.Less(t, small.Info().Memory, int64(1<<30))
	require.NoError(t, small.Close())
}

func BenchmarkConv(b *testing.B) {
	d := open(b)
	for _, c := range []struct{ in, out, size, kernel int }{
		{128, 128, 64, 3}, {32, 32, 64, 3}, {64, 32, 64, 3}, {64, 64, 32, 3}, {64, 64, 16, 3}, {128, 128, 8, 3}, {3, 32, 64, 3}, {32, 6, 64, 3}, {128, 128, 64, 1}, {96, 64, 16, 1},
	} {
		name := strconv.Itoa(c.in) + "→" + strconv.Itoa(c.out) + "@" + strconv.Itoa(c.size) + "k" + strconv.Itoa(c.kernel)
		b.Run(name, func(b *testing.B) {
			weight := make([]float32, c.in*c.out*c.kernel*c.kernel)
			for i := range weight {
				weight[i] = float32(i%17) - 8
			}
			w, err := d.PrepareConv(compute.ConvShape{Out: c.out, In: c.in, Kernel: c.kernel}, weight, nil)
			require.NoError(b, err)
			src, err := compute.FromHost(d, make([]float32, c.in*c.size*c.size), 1, c.in, c.size, c.size)
			require.NoError(b, err)
			dst, err := compute.New(d, 1, c.out, c.size, c.size)
			require.NoError(b, err)
			for b.Loop() {
				d.Conv(dst, src, w, compute.ConvMode{})
				require.NoError(b, d.Sync())
			}
			flop := 2 * float64(len(weight)*c.size*c.size)
			b.ReportMetric(flop*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
