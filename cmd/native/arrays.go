package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// readKernel reads a blur kernel from a picture, see [measure.PictureKernel], or from a
// NumPy array (.npy, two dimensions).
func readKernel(path string) (k measure.Kernel, err error) {
	if src, notPicture := picture.OpenSource(path); notPicture == nil {
		k, err = measure.PictureKernel(src)
	} else if k, err = readNpy(path); err == nil {
		k, err = measure.NewKernel(k.H, k.W, k.Weights)
	} else {
		return k, err // which names the path
	}
	if err != nil {
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
