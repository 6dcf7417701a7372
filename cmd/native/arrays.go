package main

import (
	"errors"
	"fmt"
	"os"

	"gorgonia.org/tensor"

	"github.com/cmi-diffusion/cmi/sdk/measure"
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
	sum := 0.0
	for _, w := range k.Weights {
		sum += w
	}
	if !(sum > 0) {
		return k, fmt.Errorf("%s: the kernel's weights sum to %v, a positive sum is wanted", path, sum)
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
	info, err := f.Stat()
	if err != nil {
		return k, err
	}
	if info.Size() > 1<<24 {
		return k, fmt.Errorf("%s has %d bytes, a kernel of at most 16 MiB is wanted", path, info.Size())
	}
	wrong := fmt.Errorf("%s: neither a picture nor a NumPy array (.npy) of two dimensions", path)
	defer func() { // the reader panics on damaged files
		if recover() != nil {
			err = wrong
		}
	}()
	var d tensor.Dense
	if err := d.ReadNpy(f); err != nil {
		return k, wrong
	}
	if d.Dims() != 2 {
		return k, fmt.Errorf("%s has %d dimensions, a kernel has 2", path, d.Dims())
	}
	k.H, k.W = d.Shape()[0], d.Shape()[1]
	for y := range k.H {
		for x := range k.W {
			v, err := d.At(y, x)
			if err != nil {
				return k, wrong
			}
			switch v := v.(type) {
			case float32:
				k.Weights = append(k.Weights, float64(v))
			case float64:
				k.Weights = append(k.Weights, v)
			default:
				return k, fmt.Errorf("%s holds %v, float32 or float64 is wanted", path, d.Dtype())
			}
		}
	}
	return k, nil
}

// writeNpy writes an image's exact values, C×H×W float32, for NumPy.
func writeNpy(path string, m picture.Image) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return tensor.New(tensor.WithShape(m.C, m.H, m.W), tensor.WithBacking(m.Pix)).WriteNpy(f)
}
