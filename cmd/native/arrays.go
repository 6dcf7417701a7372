package main

import (
	"bufio"
	"fmt"
	"math"
	"os"

	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// readKernel reads a blur kernel from a NumPy array (.npy, two dimensions) or
// from a grey picture, and scales its weights to the sum 1.
func readKernel(path string) (k measure.Kernel, err error) {
	if p, err := picture.Open(path); err == nil {
		for i := range p.H * p.W { // the first channel, black is 0
			k.Weights = append(k.Weights, float64(p.Pix[i]+1)/2)
		}
		k.H, k.W = p.H, p.W
	} else if k, err = readNpy(path); err != nil {
		return k, err
	}
	largest := math.SmallestNonzeroFloat64
	for i, w := range k.Weights {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return k, fmt.Errorf("%s: the kernel's weight in row %d, column %d is %v, a finite number is wanted", path, i/k.W, i%k.W, w)
		}
		largest = max(largest, math.Abs(w))
	}
	sum := 0.0
	for i := range k.Weights {
		k.Weights[i] /= largest // else the sum may overflow
		sum += k.Weights[i]
	}
	if !(sum > 0) {
		return k, fmt.Errorf("%s: the kernel's weights sum to %v, a positive sum is wanted", path, sum*largest)
	}
	for i := range k.Weights {
		k.Weights[i] /= sum
	}
	return k, nil
}

func readNpy(path string) (k measure.Kernel, err error) {
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 1<<24 {
		return k, fmt.Errorf("%s has %d bytes, a kernel of at most 16 MiB is wanted", path, info.Size())
	}
	values, shape, err := npy.Read(bufio.NewReader(f))
	if err != nil {
		return k, fmt.Errorf("%s: neither a picture nor a NumPy array (.npy) of two dimensions: %w", path, err)
	}
	if len(shape) != 2 {
		return k, fmt.Errorf("%s has shape %v, a kernel has 2 dimensions", path, shape)
	}
	return measure.Kernel{H: shape[0], W: shape[1], Weights: values}, nil
}
