package main

import (
	"fmt"
	"strconv"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
	"github.com/cmi-diffusion/cmi/gpu/cuda/libcuda"
	"github.com/cmi-diffusion/cmi/sdk/compute"
)

func init() {
	devices["cuda"] = deviceKind{
		help:  "cuda:GPU, cuda:f32, cuda:tf32x3, cuda:bf16, cuda:GPU:bf16 (GPUs count from 0; TF32 without)",
		open:  openCUDA,
		count: libcuda.Count,
	}
}

// openCUDA opens a GPU; options are its number and the precision, in any order.
func openCUDA(options []string) (compute.Device, error) {
	number, precision, numbers := 0, cuda.TF32, 0
	for _, o := range options {
		n, err := strconv.Atoi(o)
		if err == nil {
			if numbers++; numbers > 1 {
				return nil, fmt.Errorf("%d and %d are two GPUs: name one, or several with --gpus", number, n)
			}
			number = n
		} else if precision, err = cuda.ParsePrecision(o); err != nil {
			return nil, fmt.Errorf("%w, or the number of a GPU", err)
		}
	}
	driver, err := libcuda.Open(number)
	if err != nil {
		return nil, err
	}
	device, err := cuda.New(driver, cuda.Options{Precision: precision})
	if err != nil {
		driver.Close()
		return nil, err
	}
	return device, nil
}
