// Command embedsqueezenet makes the SqueezeNet v1.1 that is embedded in the SDK: it
// reads the original Caffe weights from the MATLAB file sqz_notop.mat and writes
// them as F16 safetensors, with torchvision's names and layout.
//
//	go run ./tools/embedsqueezenet -in sqz_notop.mat -out sdk/metric/squeezenet/squeezenet.safetensors
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// modules are torchvision's indices of the layers in squeezenet1_1's features.
var modules = map[string]string{
	"conv1": "features.0",
	"fire2": "features.3", "fire3": "features.4",
	"fire4": "features.6", "fire5": "features.7",
	"fire6": "features.9", "fire7": "features.10", "fire8": "features.11", "fire9": "features.12",
}

func main() {
	in := flag.String("in", "", "sqz_notop.mat")
	out := flag.String("out", "", "safetensors file to write")
	wide := flag.Bool("f32", false, "keep F32, to compare with")
	flag.Parse()
	if *in == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	kind := checkpoint.F16
	if *wide {
		kind = checkpoint.F32
	}
	if err := run(*in, *out, kind); err != nil {
		fmt.Fprintln(os.Stderr, "embedsqueezenet:", err)
		os.Exit(1)
	}
}

func run(in, out string, kind checkpoint.DType) error {
	data, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	layers, err := readCells(data)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	var tensors []checkpoint.Content
	add := func(name string, values []float32, shape ...int) {
		tensors = append(tensors, checkpoint.Content{Tensor: checkpoint.Tensor{Name: name, DType: kind, Shape: shape}, Floats: values})
	}
	for _, l := range layers {
		module, part, _ := strings.Cut(l.name, "/")
		name, ok := modules[module]
		if !ok || len(l.cells) != 2 || len(l.cells[0].dims) != 4 {
			return fmt.Errorf("%s: layer %q with %d cells, want a kernel (H×W×I×O) and a bias of SqueezeNet", in, l.name, len(l.cells))
		}
		if part = strings.TrimSuffix(part, "1x1"); part == "expand" {
			part += "1x1"
		}
		if part != "" {
			name += "." + part
		}
		kernel, bias := l.cells[0], l.cells[1]
		h, w, i, o := kernel.dims[0], kernel.dims[1], kernel.dims[2], kernel.dims[3]
		add(name+".weight", rowMajor(kernel), o, i, h, w)
		add(name+".bias", bias.values, len(bias.values))
	}
	var file bytes.Buffer
	err = checkpoint.WriteSafetensors(&file, tensors, map[string]string{
		"source": "SqueezeNet v1.1 (Iandola et al. 2016), original Caffe weights", "input": "BGR, 0 to 255, minus 104.006, 116.669, 122.679",
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d tensors, %d bytes, SHA-256 %x\n", out, len(tensors), file.Len(), sha256.Sum256(file.Bytes()))
	return os.WriteFile(out, file.Bytes(), 0o644)
}

// rowMajor brings a column-major H×W×I×O kernel to row-major [O, I, H, W].
func rowMajor(k array) []float32 {
	h, w, in, n := k.dims[0], k.dims[1], k.dims[2], k.dims[3]
	out := make([]float32, 0, len(k.values))
	for o := range n {
		for i := range in {
			for y := range h {
				for x := range w {
					out = append(out, k.values[y+h*(x+w*(i+in*o))])
				}
			}
		}
	}
	return out
}
