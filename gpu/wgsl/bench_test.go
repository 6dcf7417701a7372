//go:build cgo && ((linux && amd64 && !android) || darwin || (windows && amd64))

package wgsl_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// BenchmarkLayers times the layers of networks, and the adapter's matrix product,
// of whose best rate a layer's share is told. Rates count the multiplications of
// the direct sum. A rate is the best of several seconds' runs:
//
//	CGO_ENABLED=1 go test ./gpu/wgsl -run - -bench Layers -benchtime 1x
func BenchmarkLayers(b *testing.B) {
	d := open(b)
	peak := 0.0
	for _, l := range []struct{ kernel, in, out, side, images int }{
		{1, 512, 512, 32, 1}, {1, 512, 512, 64, 1}, // products, whose best rate is the peak
		{3, 32, 32, 64, 1}, {3, 64, 64, 64, 1}, {3, 128, 128, 64, 1}, {3, 256, 256, 32, 1}, {3, 128, 128, 16, 4},
		{3, 512, 512, 16, 1}, {3, 256, 256, 8, 4}, {3, 512, 512, 8, 1}, {3, 3, 32, 64, 1}, {1, 128, 384, 16, 1},
	} {
		name := fmt.Sprintf("%d×%d,%d→%d,%d×%d×%d", l.kernel, l.kernel, l.in, l.out, l.images, l.side, l.side)
		b.Run(name, func(b *testing.B) {
			w, err := d.PrepareConv(compute.ConvShape{Out: l.out, In: l.in, Kernel: l.kernel},
				make([]float32, l.out*l.in*l.kernel*l.kernel), make([]float32, l.out))
			if err != nil {
				b.Fatal(err)
			}
			defer w.Free()
			ws := compute.NewWorkspace(d)
			defer ws.Free()
			x, y := ws.New(l.images, l.in, l.side, l.side), ws.New(l.images, l.out, l.side, l.side)
			if err := ws.Err(); err != nil {
				b.Fatal(err)
			}
			work := 2 * float64(l.kernel*l.kernel*l.in*l.out*l.images*l.side*l.side)
			run := func(times int) time.Duration {
				start := time.Now()
				for range times {
					d.Conv(y, x, w, compute.ConvMode{Bias: true})
				}
				if err := d.Sync(); err != nil {
					b.Fatal(err)
				}
				return time.Since(start) / time.Duration(times)
			}
			run(1) // compiles and tries
			times := max(1, int(50*time.Millisecond/run(2)))
			best := 0.0
			for b.Loop() {
				for range 10 {
					best = max(best, work/run(times).Seconds()/1e9)
				}
			}
			if l.in == 512 && l.kernel == 1 {
				peak = max(peak, best)
			}
			b.ReportMetric(best, "GFLOP/s")
			b.ReportMetric(100*best/peak, "%of-product")
			b.ReportMetric(0, "ns/op")
		})
	}
}
