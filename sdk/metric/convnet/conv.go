package convnet

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/internal/parallel"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Conv is a 2-D convolution with zero padding, followed by a ReLU. Its tensors are
// Name.weight [Out, In, Kernel…] and Name.bias [Out]. With BatchNorm they are
// Name.conv.weight and Name.bn.{weight, bias, running_mean, running_var}, which are
// folded into the weights.
type Conv struct {
	Name      string
	Out       int
	Kernel    [2]int  // height, width
	Stride    int     // 0 is 1
	Pad       [2]int  // rows above and below, columns left and right
	BatchNorm float64 // the normalisation's ε; 0 for none
}

// columnFloats bounds the columns that are unfolded at a time, so that they stay
// in the last-level cache.
const columnFloats = 1 << 20

func (c Conv) build(net *Net, weights checkpoint.Source, in int) (layer, int, error) {
	c.Stride = max(c.Stride, 1)
	w, bias, err := c.load(weights, in)
	if err != nil {
		return nil, 0, err
	}
	var norm *batchNorm
	if c.BatchNorm != 0 {
		if norm, err = c.loadNorm(weights); err != nil {
			return nil, 0, err
		}
		if !net.training {
			w, bias, norm = norm.fold(w), norm.bias(), nil
		}
	}
	k := c.Kernel[0]
	shape := compute.ConvShape{Out: c.Out, In: in, Kernel: k}
	direct := c.Stride == 1 && c.Kernel == [2]int{k, k} && c.Pad == [2]int{k / 2, k / 2} && (k == 1 || k == 3)
	if !direct { // a matrix for unfolded columns
		shape = compute.ConvShape{Out: c.Out, In: in * c.Kernel[0] * c.Kernel[1], Kernel: 1}
	}
	prepared, err := net.dev.PrepareConv(shape, w, bias)
	if err != nil {
		return nil, 0, fmt.Errorf("convnet: %s: %w", c.Name, err)
	}
	return func(x Maps) (Maps, error) {
		h := (x.H+2*c.Pad[0]-c.Kernel[0])/c.Stride + 1
		w := (x.W+2*c.Pad[1]-c.Kernel[1])/c.Stride + 1
		if x.H+2*c.Pad[0] < c.Kernel[0] || x.W+2*c.Pad[1] < c.Kernel[1] {
			return x, tooSmall(c.Name, x, c.Kernel)
		}
		y := New(x.N, c.Out, h, w)
		run := func() error { return net.apply(y, x, prepared) }
		if !direct {
			run = func() error { return c.unfolded(net, y, x, prepared) }
		}
		if err := run(); err != nil {
			return x, fmt.Errorf("convnet: %s: %w", c.Name, err)
		}
		if norm != nil {
			norm.ofBatch(y)
		}
		parallel.For(y.N*y.C, func(i int) {
			plane := y.Values[i*y.H*y.W : (i+1)*y.H*y.W]
			for j, v := range plane {
				plane[j] = max(v, 0)
			}
		})
		return y, nil
	}, c.Out, nil
}

func tooSmall(name string, x Maps, kernel [2]int) error {
	return fmt.Errorf("convnet: %s: maps of %d×%d are smaller than the %d×%d window: use larger images", name, x.H, x.W, kernel[0], kernel[1])
}

// load reads the weights and, without a normalisation, the bias.
func (c Conv) load(from checkpoint.Source, in int) (weight, bias []float32, err error) {
	name := c.Name
	if c.BatchNorm != 0 {
		name += ".conv"
	}
	if weight, err = from.Floats(name+".weight", c.Out, in, c.Kernel[0], c.Kernel[1]); err != nil || c.BatchNorm != 0 {
		return weight, nil, err
	}
	bias, err = from.Floats(name+".bias", c.Out)
	return weight, bias, err
}

// unfolded convolves x as a matrix product: a range of output rows at a time, each
// output position's window is laid out as a column.
func (c Conv) unfolded(net *Net, y, x Maps, w compute.Weights) error {
	window := x.C * c.Kernel[0] * c.Kernel[1]
	rows := min(y.H, max(1, columnFloats/(window*y.W)))
	columns := make([]float32, window*rows*y.W)
	product := make([]float32, y.C*rows*y.W)
	for n := range x.N {
		for from := 0; from < y.H; from += rows {
			count := min(rows, y.H-from) * y.W
			in := Maps{1, window, 1, count, columns[:window*count]}
			out := Maps{1, y.C, 1, count, product[:y.C*count]}
			c.unfold(in.Values, x, n, from, y.W, count)
			if err := net.apply(out, in, w); err != nil {
				return err
			}
			for o := range y.C {
				copy(y.Image(n)[o*y.H*y.W+from*y.W:], out.Values[o*count:(o+1)*count])
			}
		}
	}
	return nil
}

// unfold writes one row for each channel and tap: the values that the tap sees at
// count output positions, which start with output row from.
func (c Conv) unfold(columns []float32, x Maps, n, from, width, count int) {
	image := x.Image(n)
	for row := range len(columns) / count {
		channel, tap := row/(c.Kernel[0]*c.Kernel[1]), row%(c.Kernel[0]*c.Kernel[1])
		ky, kx := tap/c.Kernel[1], tap%c.Kernel[1]
		dst := columns[row*count : (row+1)*count]
		for i := 0; i < count; i += width {
			line := dst[i : i+width]
			sy := (from+i/width)*c.Stride + ky - c.Pad[0]
			if sy < 0 || sy >= x.H {
				clear(line)
				continue
			}
			src := image[(channel*x.H+sy)*x.W:][:x.W]
			sx := kx - c.Pad[1]
			for j := range line {
				if sx >= 0 && sx < len(src) {
					line[j] = src[sx]
				} else {
					line[j] = 0
				}
				sx += c.Stride
			}
		}
	}
}
