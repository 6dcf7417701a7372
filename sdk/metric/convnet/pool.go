package convnet

import (
	"github.com/cmi-diffusion/cmi/internal/parallel"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// MaxPool is the largest value of square windows.
type MaxPool struct {
	Kernel, Stride, Pad int
	// Ceil adds a last window that hangs over the edge where whole windows leave
	// pixels over, as Caffe does.
	Ceil bool
}

func (p MaxPool) build(_ *Net, _ checkpoint.Source, in int) (layer, int, error) {
	return func(x Maps) (Maps, error) { return pool("max pool", x, p, false) }, in, nil
}

// AvgPool is the mean of square windows over the pixels inside the image: padding
// is not counted.
type AvgPool struct{ Kernel, Stride, Pad int }

func (p AvgPool) build(_ *Net, _ checkpoint.Source, in int) (layer, int, error) {
	windows := MaxPool{Kernel: p.Kernel, Stride: p.Stride, Pad: p.Pad}
	return func(x Maps) (Maps, error) { return pool("average pool", x, windows, true) }, in, nil
}

// pool takes the mean or else the largest value of every channel's windows, cut off at the
// image's edge: along columns first, then along rows.
func pool(name string, x Maps, p MaxPool, mean bool) (Maps, error) {
	h, w := p.windows(x.H), p.windows(x.W)
	if h < 1 || w < 1 {
		return x, tooSmall(name, x, [2]int{p.Kernel, p.Kernel})
	}
	out := New(x.N, x.C, h, w)
	parallel.For(x.N*x.C, func(i int) {
		plane := x.Values[i*x.H*x.W : (i+1)*x.H*x.W]
		line := make([]float32, x.W)
		for y := range h {
			y0, y1 := max(0, y*p.Stride-p.Pad), min(x.H, y*p.Stride-p.Pad+p.Kernel)
			copy(line, plane[y0*x.W:])
			for r := y0 + 1; r < y1; r++ {
				for j, v := range plane[r*x.W : (r+1)*x.W] {
					if mean {
						line[j] += v
					} else {
						line[j] = max(line[j], v)
					}
				}
			}
			for j := range w {
				x0, x1 := max(0, j*p.Stride-p.Pad), min(x.W, j*p.Stride-p.Pad+p.Kernel)
				value := line[x0]
				for _, v := range line[x0+1 : x1] {
					if mean {
						value += v
					} else {
						value = max(value, v)
					}
				}
				if mean {
					value /= float32((y1 - y0) * (x1 - x0))
				}
				out.Values[(i*h+y)*w+j] = value
			}
		}
	})
	return out, nil
}

// windows counts the windows along a side of so many pixels; each starts inside
// the image or its leading padding. 0 where the side is too short for one.
func (p MaxPool) windows(size int) int {
	room := size + 2*p.Pad - p.Kernel
	if p.Ceil {
		room += p.Stride - 1
	}
	if room < 0 {
		return 0
	}
	n := room/p.Stride + 1
	if p.Ceil && (n-1)*p.Stride >= size+p.Pad {
		n--
	}
	return n
}
