package convnet_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/metric/convnet"
)

// weights are normal random values for any tensor; variances are positive.
type weights struct {
	checkpoint.Formula
	made map[string][]float32
}

func (w weights) Floats(name string, shape ...int) ([]float32, error) {
	values := checkpoint.FormulaValues(name, checkpoint.Tensor{Shape: shape}.Len(), 4)
	if name == "c.bn.running_var" {
		for i := range values {
			values[i] = .3 + values[i]*values[i]
		}
	}
	w.made[name] = append([]float32(nil), values...)
	return values, nil
}

func device(t *testing.T) compute.Device {
	dev := cpu.New(2)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

func random(n, c, h, w int) convnet.Maps {
	rng := rand.New(rand.NewPCG(uint64(h), uint64(w)))
	x := convnet.New(n, c, h, w)
	for i := range x.Values {
		x.Values[i] = float32(rng.NormFloat64())
	}
	return x
}

// at returns a value of maps, 0 outside.
func at(x convnet.Maps, n, c, i, j int) float64 {
	if i < 0 || j < 0 || i >= x.H || j >= x.W {
		return 0
	}
	return float64(x.Image(n)[(c*x.H+i)*x.W+j])
}

// Every way to convolve agrees with the sum that defines it.
func TestConvIsItsDefinition(t *testing.T) {
	dev := device(t)
	for _, c := range []convnet.Conv{
		{Kernel: [2]int{1, 1}},
		{Kernel: [2]int{3, 3}, Pad: [2]int{1, 1}},
		{Kernel: [2]int{3, 3}},
		{Kernel: [2]int{3, 3}, Stride: 2, Pad: [2]int{1, 1}},
		{Kernel: [2]int{11, 11}, Stride: 4, Pad: [2]int{2, 2}},
		{Kernel: [2]int{5, 5}, Pad: [2]int{2, 2}},
		{Kernel: [2]int{1, 7}, Pad: [2]int{0, 3}},
		{Kernel: [2]int{7, 1}, Pad: [2]int{3, 0}},
		{Kernel: [2]int{7, 1}, Pad: [2]int{3, 0}, BatchNorm: .1},
		{Kernel: [2]int{3, 3}, Pad: [2]int{1, 1}, BatchNorm: .1},
	} {
		c.Name, c.Out = "c", 5
		w := weights{made: map[string][]float32{}}
		net, err := convnet.Load(dev, w, c, 3)
		require.NoError(t, err)
		x := random(2, 3, 13, 17)
		got, err := net.Run(x, nil)
		require.NoError(t, err)
		net.Close()
		stride := max(c.Stride, 1)
		require.Equal(t, (13+2*c.Pad[0]-c.Kernel[0])/stride+1, got.H)
		require.Equal(t, (17+2*c.Pad[1]-c.Kernel[1])/stride+1, got.W)
		require.Equal(t, [2]int{2, 5}, [2]int{got.N, got.C})
		kernel := w.made["c.weight"]
		if c.BatchNorm > 0 {
			kernel = w.made["c.conv.weight"]
		}
		for n := range got.N {
			for o := range got.C {
				for i := range got.H {
					for j := range got.W {
						want := 0.0
						for k, v := range kernel[o*len(kernel)/5 : (o+1)*len(kernel)/5] {
							channel, ky, kx := k/(c.Kernel[0]*c.Kernel[1]), k/c.Kernel[1]%c.Kernel[0], k%c.Kernel[1]
							want += float64(v) * at(x, n, channel, i*stride+ky-c.Pad[0], j*stride+kx-c.Pad[1])
						}
						if c.BatchNorm > 0 {
							bn := func(part string) float64 { return float64(w.made["c.bn."+part][o]) }
							want = (want-bn("running_mean"))/math.Sqrt(bn("running_var")+.1)*bn("weight") + bn("bias")
						} else {
							want += float64(w.made["c.bias"][o])
						}
						require.InDelta(t, max(want, 0), at(got, n, o, i, j), 1e-4, "%+v at %d,%d,%d,%d", c, n, o, i, j)
					}
				}
			}
		}
	}
}

// Where the columns of a convolution don't fit at once, they are computed in parts.
func TestLargeMaps(t *testing.T) {
	dev := device(t)
	c := convnet.Conv{Name: "c", Out: 2, Kernel: [2]int{3, 3}, Stride: 2} // 384×9 columns of 120×120 positions
	net, err := convnet.Load(dev, weights{made: map[string][]float32{}}, c, 384)
	require.NoError(t, err)
	defer net.Close()
	x := random(1, 384, 241, 241)
	whole, err := net.Run(x, nil)
	require.NoError(t, err)
	part := convnet.New(1, 384, 31, 241) // rows 200 to 230
	for channel := range 384 {
		copy(part.Values[channel*31*241:(channel+1)*31*241], x.Values[(channel*241+200)*241:])
	}
	got, err := net.Run(part, nil)
	require.NoError(t, err)
	for i := range got.H {
		for j := range got.W {
			require.InDelta(t, at(whole, 0, 1, 100+i, j), at(got, 0, 1, i, j), 1e-3)
		}
	}
}

func TestPools(t *testing.T) {
	dev := device(t)
	for _, c := range []struct {
		pool convnet.MaxPool
		h, w int
	}{ // sizes as torch.nn.MaxPool2d gives them
		{convnet.MaxPool{Kernel: 3, Stride: 2}, 6, 3},
		{convnet.MaxPool{Kernel: 3, Stride: 2, Ceil: true}, 7, 4},
		{convnet.MaxPool{Kernel: 2, Stride: 2}, 7, 4},
		{convnet.MaxPool{Kernel: 3, Stride: 1, Pad: 1}, 14, 8},
		{convnet.MaxPool{Kernel: 3, Stride: 3, Pad: 1, Ceil: true}, 5, 3},
	} {
		x := random(2, 2, 14, 8)
		for name, node := range map[string]convnet.Node{"max": c.pool, "mean": convnet.AvgPool{Kernel: c.pool.Kernel, Stride: c.pool.Stride, Pad: c.pool.Pad}} {
			if name == "mean" && c.pool.Ceil {
				continue
			}
			net, err := convnet.Load(dev, nil, node, 2)
			require.NoError(t, err)
			got, err := net.Run(x, nil)
			require.NoError(t, err)
			require.Equal(t, [2]int{c.h, c.w}, [2]int{got.H, got.W}, "%+v", c.pool)
			for i := range got.H {
				for j := range got.W {
					top, sum, count := math.Inf(-1), 0.0, 0.0
					for k := range c.pool.Kernel * c.pool.Kernel {
						y, xx := i*c.pool.Stride-c.pool.Pad+k/c.pool.Kernel, j*c.pool.Stride-c.pool.Pad+k%c.pool.Kernel
						if y < 0 || xx < 0 || y >= x.H || xx >= x.W {
							continue
						}
						v := at(x, 1, 1, y, xx)
						top, sum, count = max(top, v), sum+v, count+1
					}
					want := top
					if name == "mean" {
						want = sum / count
					}
					require.InDelta(t, want, at(got, 1, 1, i, j), 1e-6, "%s %+v", name, c.pool)
				}
			}
		}
	}
	// A last window that would hold padding alone is left out, as PyTorch does.
	net, err := convnet.Load(dev, nil, convnet.MaxPool{Kernel: 2, Stride: 2, Pad: 1, Ceil: true}, 1)
	require.NoError(t, err)
	got, err := net.Run(random(1, 1, 3, 4), nil)
	require.NoError(t, err)
	require.Equal(t, [2]int{2, 3}, [2]int{got.H, got.W})
}

func TestBranchesAndTaps(t *testing.T) {
	x := random(2, 3, 4, 5)
	same := convnet.MaxPool{Kernel: 1, Stride: 1}
	net, err := convnet.Load(device(t), nil, convnet.Seq{convnet.Tap{}, convnet.Branches{same, convnet.Seq{}}, convnet.Tap{}}, 3)
	require.NoError(t, err)
	var seen []string
	got, err := net.Run(x, func(m convnet.Maps) { seen = append(seen, m.String()) })
	require.NoError(t, err)
	require.Equal(t, []string{"2×3×4×5", "2×6×4×5"}, seen)
	for n := range 2 {
		require.Equal(t, append(append([]float32{}, x.Image(n)...), x.Image(n)...), got.Image(n))
	}
}

// In training mode every channel has the mean and the spread that the batch
// normalisation's weights say.
func TestTrainingMode(t *testing.T) {
	w := weights{made: map[string][]float32{}}
	c := convnet.Conv{Name: "c", Out: 4, Kernel: [2]int{1, 1}, BatchNorm: 1e-9}
	table := convnet.Seq{c}
	net, err := convnet.LoadTraining(device(t), w, table, 2)
	require.NoError(t, err)
	defer net.Close()
	x := random(3, 2, 40, 40)
	got, err := net.Run(x, nil)
	require.NoError(t, err)
	for o := range 4 {
		// The rectified part of a standard normal variable, scaled and moved.
		gamma, beta := math.Abs(float64(w.made["c.bn.weight"][o])), float64(w.made["c.bn.bias"][o])
		z := beta / gamma
		want := beta*.5*(1+math.Erf(z/math.Sqrt2)) + gamma*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
		sum := 0.0
		for n := range 3 {
			sum += float64(convnet.Maps{N: 1, C: 4, H: 40, W: 40, Values: got.Image(n)}.Mean()[o]) / 3
		}
		require.InDelta(t, want, sum, .03)
	}
}

func TestErrors(t *testing.T) {
	dev := device(t)
	c := convnet.Conv{Name: "c", Out: 2, Kernel: [2]int{5, 5}}
	net, err := convnet.Load(dev, weights{made: map[string][]float32{}}, c, 3)
	require.NoError(t, err)
	_, err = net.Run(convnet.New(1, 3, 4, 9), nil)
	require.ErrorContains(t, err, "c: maps of 4×9 are smaller than the 5×5 window")
	_, err = net.Run(convnet.New(1, 2, 9, 9), nil)
	require.ErrorContains(t, err, "as 1×2×9×9, want N×3×H×W")
	_, err = net.Run(convnet.Maps{N: 1, C: 3, H: 9, W: 9, Values: make([]float32, 7)}, nil)
	require.ErrorContains(t, err, "7 values")
	_, err = convnet.Load(dev, checkpoint.Formula{"c.weight": {2, 3, 5, 5}}, c, 3)
	require.ErrorContains(t, err, `no tensor "c.bias"`)
	uneven := convnet.Branches{convnet.Seq{}, convnet.MaxPool{Kernel: 2, Stride: 2}}
	net, err = convnet.Load(dev, nil, uneven, 1)
	require.NoError(t, err)
	_, err = net.Run(convnet.New(1, 1, 8, 8), nil)
	require.ErrorContains(t, err, "branches of 8×8 and 4×4 pixels")
}

func ExampleLoad() {
	// A network of two layers, weights by formula.
	table := convnet.Seq{
		convnet.Conv{Name: "first", Out: 8, Kernel: [2]int{5, 5}, Stride: 2, Pad: [2]int{2, 2}},
		convnet.MaxPool{Kernel: 3, Stride: 2},
	}
	shapes := checkpoint.Formula{"first.weight": {8, 3, 5, 5}, "first.bias": {8}}
	dev := cpu.New(0)
	defer dev.Close()
	net, err := convnet.Load(dev, shapes, table, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer net.Close()
	y, err := net.Run(convnet.New(1, 3, 64, 64), nil)
	fmt.Println(y, err)
	// Output: 1×8×15×15 <nil>
}
