//go:build linux

// Command fakecuda builds the stand-in for NVIDIA's driver and prints its path:
//
//	CMI_LIBCUDA=$(go run ./tools/fakecuda) bin/cmi-native verify --device cuda:f32 --quick
package main

import (
	"fmt"
	"os"

	"github.com/cmi-diffusion/cmi/gpu/cuda/fakecuda"
)

func main() {
	path, err := fakecuda.Library("gpu/cuda")
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakecuda:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
