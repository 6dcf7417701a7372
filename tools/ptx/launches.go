package main

import (
	"context"
	"fmt"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
)

// launch is what a kernel is launched with at most: threads and bytes of dynamic
// shared memory of a block.
type launch struct{ threads, shared uint32 }

// paper is a driver that computes nothing and notes every launch.
type paper struct {
	names []string
	most  map[string]launch
	next  cuda.Ptr
}

func (*paper) Info() cuda.DriverInfo {
	return cuda.DriverInfo{Name: "paper", Major: 8, SMs: 108, MaxShared: 163 << 10, Total: 1 << 40, Free: 1 << 40}
}
func (p *paper) Alloc(bytes int) (cuda.Ptr, error) {
	p.next += cuda.Ptr(bytes+511) &^ 255
	return p.next, nil
}
func (*paper) Free(cuda.Ptr)                   {}
func (*paper) Upload(cuda.Ptr, []byte)         {}
func (*paper) Download([]byte, cuda.Ptr) error { return nil }
func (*paper) Sync() error                     { return nil }
func (*paper) BeginCapture()                   {}
func (*paper) EndCapture() (cuda.Graph, error) { return 1, nil }
func (*paper) LaunchGraph(cuda.Graph)          {}
func (*paper) FreeGraph(cuda.Graph)            {}
func (*paper) Close() error                    { return nil }

func (p *paper) Kernel(name string) (cuda.Kernel, error) {
	p.names = append(p.names, name)
	return cuda.Kernel(len(p.names)), nil
}

func (p *paper) Launch(k cuda.Kernel, _, block [3]uint32, shared uint32, _ []byte) {
	name := p.names[k-1]
	most := p.most[name]
	p.most[name] = launch{max(most.threads, block[0]*block[1]*block[2]), max(most.shared, shared)}
}

// launches runs the conformance suite and the released networks' shapes on paper, in
// every precision. Results are nonsense and not looked at.
func launches() (map[string]launch, error) {
	most := map[string]launch{}
	for _, precision := range []cuda.Precision{cuda.TF32, cuda.F32, cuda.BF16, cuda.TF32x3} {
		d, err := cuda.New(&paper{most: most}, cuda.Options{Precision: precision})
		if err != nil {
			return nil, err
		}
		computetest.Run(context.Background(), d, computetest.Ops(true), func(computetest.Result) {})
		ws := compute.NewWorkspace(d)
		for _, side := range []int{1, 8, 16, 32, 64, 128, 256} {
			for _, kernel := range []int{1, 3} {
				w, err := d.PrepareConv(compute.ConvShape{Out: 256, In: 128, Kernel: kernel}, make([]float32, 256*128*kernel*kernel), nil)
				if err != nil {
					return nil, err
				}
				in, out := ws.New(1, 128, side, side), ws.New(1, 256, side, side)
				d.Conv(out, in, w, compute.ConvMode{})
				d.Conv(in, out, w, compute.ConvMode{Adjoint: true})
				w.Free()
			}
		}
		heads := compute.Heads{Count: 8}
		x, y := ws.New(1, 3*512, 16, 16), ws.New(1, 512, 16, 16)
		d.Attention(y, x, heads)
		d.AttentionAdjoint(x, x, y, heads, true)
		d.AttentionTangent(y, x, x, heads)
		d.AttentionSecond(y, x, x, x, x, heads)
		if err := d.Sync(); err != nil {
			return nil, fmt.Errorf("on paper: %w", err)
		}
	}
	return most, nil
}
