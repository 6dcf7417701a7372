package lpips

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/metric/convnet"
)

// network is a backbone: torchvision's “features”, cut off after the last tap.
type network struct {
	title   string // for people
	table   convnet.Seq
	taps    []int // channels of each tap
	strides []int // pixels of the image from one value of each tap to the next
}

// networks by the names of Zhang et al.'s code.
var networks = map[string]network{
	"alex":    {"AlexNet", alex, []int{64, 192, 384, 256, 256}, []int{4, 8, 16, 16, 16}},
	"vgg":     {"VGG-16", vgg, []int{64, 128, 256, 512, 512}, []int{1, 2, 4, 8, 16}},
	"squeeze": {"SqueezeNet 1.1", squeeze, []int{64, 128, 256, 384, 384, 512, 512}, []int{2, 4, 8, 16, 16, 16, 16}},
}

// alex is AlexNet (Krizhevsky 2014, the one-column variant).
var alex = convnet.Seq{
	conv(0, 64, 11, 4, 2), tap,
	pool, conv(3, 192, 5, 1, 2), tap,
	pool, conv(6, 384, 3, 1, 1), tap,
	conv(8, 256, 3, 1, 1), tap,
	conv(10, 256, 3, 1, 1), tap,
}

// vgg is VGG-16 (Simonyan & Zisserman 2015).
var vgg = convnet.Seq{
	conv(0, 64, 3, 1, 1), conv(2, 64, 3, 1, 1), tap,
	halve, conv(5, 128, 3, 1, 1), conv(7, 128, 3, 1, 1), tap,
	halve, conv(10, 256, 3, 1, 1), conv(12, 256, 3, 1, 1), conv(14, 256, 3, 1, 1), tap,
	halve, conv(17, 512, 3, 1, 1), conv(19, 512, 3, 1, 1), conv(21, 512, 3, 1, 1), tap,
	halve, conv(24, 512, 3, 1, 1), conv(26, 512, 3, 1, 1), conv(28, 512, 3, 1, 1), tap,
}

// squeeze is SqueezeNet 1.1 (Iandola et al. 2016).
var squeeze = convnet.Seq{
	conv(0, 64, 3, 2, 0), tap,
	ceilPool, fire(3, 16, 64), fire(4, 16, 64), tap,
	ceilPool, fire(6, 32, 128), fire(7, 32, 128), tap,
	ceilPool, fire(9, 48, 192), tap,
	fire(10, 48, 192), tap,
	fire(11, 64, 256), tap,
	fire(12, 64, 256), tap,
}

var (
	tap      = convnet.Tap{}
	pool     = convnet.MaxPool{Kernel: 3, Stride: 2}
	ceilPool = convnet.MaxPool{Kernel: 3, Stride: 2, Ceil: true}
	halve    = convnet.MaxPool{Kernel: 2, Stride: 2}
)

// conv returns the square convolution “features.index” and the ReLU after it.
func conv(index, out, kernel, stride, pad int) convnet.Conv {
	return convnet.Conv{Name: fmt.Sprintf("features.%d", index), Out: out, Kernel: [2]int{kernel, kernel}, Stride: stride, Pad: [2]int{pad, pad}}
}

// fire squeezes to a few channels and expands by 1×1 and 3×3 side by side.
func fire(index, squeeze, expand int) convnet.Node {
	name := fmt.Sprintf("features.%d.", index)
	one, three := [2]int{1, 1}, [2]int{3, 3}
	return convnet.Seq{
		convnet.Conv{Name: name + "squeeze", Out: squeeze, Kernel: one},
		convnet.Branches{
			convnet.Conv{Name: name + "expand1x1", Out: expand, Kernel: one},
			convnet.Conv{Name: name + "expand3x3", Out: expand, Kernel: three, Pad: one},
		},
	}
}
