package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// readKernel reads a blur kernel from a NumPy array (.npy, two dimensions) or
// from a grey picture.
func readKernel(path string) (k measure.Kernel, err error) {
	if p, err := picture.Open(path); err == nil {
		for i := range p.H * p.W { // the first channel, black is 0
			k.Weights = append(k.Weights, float64(p.Pix[i]+1)/2)
		}
		k.H, k.W = p.H, p.W
	} else if k, err = readNpy(path); err != nil {
		return k, err
	}
	if k, err = measure.NewKernel(k.H, k.W, k.Weights); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return k, err
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
