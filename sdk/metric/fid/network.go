package fid

import "github.com/cmi-diffusion/cmi/sdk/metric/convnet"

// inception is the network up to the last mixed block; pool3 is its mean over pixels.
var inception = convnet.Seq{
	conv("Conv2d_1a_3x3", 32, 3, 3, 2, false),
	conv("Conv2d_2a_3x3", 32, 3, 3, 1, false),
	conv("Conv2d_2b_3x3", 64, 3, 3, 1, true),
	shrink,
	conv("Conv2d_3b_1x1", 80, 1, 1, 1, false),
	conv("Conv2d_4a_3x3", 192, 3, 3, 1, false),
	shrink,
	mixedA("Mixed_5b.", 32), mixedA("Mixed_5c.", 64), mixedA("Mixed_5d.", 64),
	convnet.Branches{ // Mixed_6a
		conv("Mixed_6a.branch3x3", 384, 3, 3, 2, false),
		convnet.Seq{same("Mixed_6a.branch3x3dbl_1", 64, 1, 1), same("Mixed_6a.branch3x3dbl_2", 96, 3, 3), conv("Mixed_6a.branch3x3dbl_3", 96, 3, 3, 2, false)},
		shrink,
	},
	mixedB("Mixed_6b.", 128), mixedB("Mixed_6c.", 160), mixedB("Mixed_6d.", 160), mixedB("Mixed_6e.", 192),
	convnet.Branches{ // Mixed_7a
		convnet.Seq{same("Mixed_7a.branch3x3_1", 192, 1, 1), conv("Mixed_7a.branch3x3_2", 320, 3, 3, 2, false)},
		convnet.Seq{
			same("Mixed_7a.branch7x7x3_1", 192, 1, 1), same("Mixed_7a.branch7x7x3_2", 192, 1, 7),
			same("Mixed_7a.branch7x7x3_3", 192, 7, 1), conv("Mixed_7a.branch7x7x3_4", 192, 3, 3, 2, false),
		},
		shrink,
	},
	mixedC("Mixed_7b.", mean),
	// The original graph has a maximum here, where the paper has a mean.
	mixedC("Mixed_7c.", convnet.MaxPool{Kernel: 3, Stride: 1, Pad: 1}),
}

var (
	shrink = convnet.MaxPool{Kernel: 3, Stride: 2}
	mean   = convnet.AvgPool{Kernel: 3, Stride: 1, Pad: 1}
)

// conv returns a convolution with batch normalisation (ε = 0.001), padded to keep the
// size or not at all.
func conv(name string, out, kh, kw, stride int, keep bool) convnet.Conv {
	c := convnet.Conv{Name: name, Out: out, Kernel: [2]int{kh, kw}, Stride: stride, BatchNorm: .001}
	if keep {
		c.Pad = [2]int{kh / 2, kw / 2}
	}
	return c
}

func same(name string, out, kh, kw int) convnet.Conv { return conv(name, out, kh, kw, 1, true) }

// mixedA returns a block on 35×35 pixels.
func mixedA(name string, pooled int) convnet.Node {
	return convnet.Branches{
		same(name+"branch1x1", 64, 1, 1),
		convnet.Seq{same(name+"branch5x5_1", 48, 1, 1), same(name+"branch5x5_2", 64, 5, 5)},
		convnet.Seq{same(name+"branch3x3dbl_1", 64, 1, 1), same(name+"branch3x3dbl_2", 96, 3, 3), same(name+"branch3x3dbl_3", 96, 3, 3)},
		convnet.Seq{mean, same(name+"branch_pool", pooled, 1, 1)},
	}
}

// mixedB returns a block on 17×17 pixels, its branches inner channels wide.
func mixedB(name string, inner int) convnet.Node {
	return convnet.Branches{
		same(name+"branch1x1", 192, 1, 1),
		convnet.Seq{same(name+"branch7x7_1", inner, 1, 1), same(name+"branch7x7_2", inner, 1, 7), same(name+"branch7x7_3", 192, 7, 1)},
		convnet.Seq{
			same(name+"branch7x7dbl_1", inner, 1, 1), same(name+"branch7x7dbl_2", inner, 7, 1), same(name+"branch7x7dbl_3", inner, 1, 7),
			same(name+"branch7x7dbl_4", inner, 7, 1), same(name+"branch7x7dbl_5", 192, 1, 7),
		},
		convnet.Seq{mean, same(name+"branch_pool", 192, 1, 1)},
	}
}

// mixedC returns a block on 8×8 pixels.
func mixedC(name string, pool convnet.Node) convnet.Node {
	return convnet.Branches{
		same(name+"branch1x1", 320, 1, 1),
		convnet.Seq{same(name+"branch3x3_1", 384, 1, 1), convnet.Branches{same(name+"branch3x3_2a", 384, 1, 3), same(name+"branch3x3_2b", 384, 3, 1)}},
		convnet.Seq{
			same(name+"branch3x3dbl_1", 448, 1, 1), same(name+"branch3x3dbl_2", 384, 3, 3),
			convnet.Branches{same(name+"branch3x3dbl_3a", 384, 1, 3), same(name+"branch3x3dbl_3b", 384, 3, 1)},
		},
		convnet.Seq{pool, same(name+"branch_pool", 192, 1, 1)},
	}
}
