package convnet

import "github.com/cmi-diffusion/cmi/sdk/checkpoint"

// MaxPool is the largest value of square windows.
type MaxPool struct {
	Kernel, Stride, Pad int
	// Ceil adds a last window that hangs over the edge where whole windows leave
	// pixels over, as Caffe does.
	Ceil bool
}

func (p MaxPool) build(_ *Net, _ checkpoint.Source, in int) (layer, int, error) {
	return func(x Maps) (Maps, error) {
		return pool("max pool", x, p, func(plane []float32, width, y0, y1, x0, x1 int) float32 {
			top := plane[y0*width+x0]
			for y := y0; y < y1; y++ {
				for _, v := range plane[y*width+x0 : y*width+x1] {
					top = max(top, v)
				}
			}
			return top
		})
	}, in, nil
}

// AvgPool is the mean of square windows over the pixels inside the image: padding
// is not counted.
type AvgPool struct{ Kernel, Stride, Pad int }

func (p AvgPool) build(_ *Net, _ checkpoint.Source, in int) (layer, int, error) {
	return func(x Maps) (Maps, error) {
		windows := MaxPool{Kernel: p.Kernel, Stride: p.Stride, Pad: p.Pad}
		return pool("average pool", x, windows, func(plane []float32, width, y0, y1, x0, x1 int) float32 {
			sum := float32(0)
			for y := y0; y < y1; y++ {
				for _, v := range plane[y*width+x0 : y*width+x1] {
					sum += v
				}
			}
			return sum / float32((y1-y0)*(x1-x0))
		})
	}, in, nil
}

// pool reduces the windows of every channel, cut off at the image's edge.
func pool(name string, x Maps, p MaxPool, reduce func(plane []float32, width, y0, y1, x0, x1 int) float32) (Maps, error) {
	h, w := p.windows(x.H), p.windows(x.W)
	if h < 1 || w < 1 {
		return x, tooSmall(name, x, [2]int{p.Kernel, p.Kernel})
	}
	out := New(x.N, x.C, h, w)
	at := 0
	for i := range x.N * x.C {
		plane := x.Values[i*x.H*x.W : (i+1)*x.H*x.W]
		for y := range h {
			y0, y1 := max(0, y*p.Stride-p.Pad), min(x.H, y*p.Stride-p.Pad+p.Kernel)
			for j := range w {
				x0, x1 := max(0, j*p.Stride-p.Pad), min(x.W, j*p.Stride-p.Pad+p.Kernel)
				out.Values[at] = reduce(plane, x.W, y0, y1, x0, x1)
				at++
			}
		}
	}
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
