// Command embedprior makes the prior that is embedded in the SDK: it rounds the
// weights of a trained network to F16 and adds the configuration that the network
// needs and the training script does not write.
//
//	go run ./tools/embedprior -in model.safetensors -out sdk/checkpoint/faces64/faces64.safetensors
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// configuration completes the metadata of tools/train/train.py: what is constant in
// its network and its schedule.
var configuration = map[string]string{
	"attention_resolutions":   "16,8",
	"num_head_channels":       "32",
	"use_scale_shift_norm":    "true",
	"resblock_updown":         "true",
	"learn_sigma":             "true",
	"use_new_attention_order": "false",
	"schedule":                "linear",
	"diffusion_steps":         "1000",
}

func main() {
	in := flag.String("in", "", "trained checkpoint, any format")
	out := flag.String("out", "", "safetensors file to write")
	flag.Parse()
	if *in == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "embedprior:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	file, err := checkpoint.Open(in)
	if err != nil {
		return err
	}
	defer file.Close()
	converted, err := convert(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, converted, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d tensors, %d bytes, SHA-256 %x\n", out, len(file.Names()), len(converted), sha256.Sum256(converted))
	return nil
}

// convert returns the F16 file of a checkpoint. A configuration that the checkpoint
// contradicts is an error.
func convert(from checkpoint.Source) ([]byte, error) {
	metadata := from.Metadata()
	for key, value := range configuration {
		if had, ok := metadata[key]; ok && had != value {
			return nil, fmt.Errorf("the checkpoint says %s = %q, wanted %q", key, had, value)
		}
		metadata[key] = value
	}
	var tensors []checkpoint.Content
	for _, name := range from.Names() {
		info, _ := from.Info(name)
		values, err := from.Floats(name, info.Shape...)
		if err != nil {
			return nil, err
		}
		info.DType = checkpoint.F16
		tensors = append(tensors, checkpoint.Content{Tensor: info, Floats: values})
	}
	var out bytes.Buffer
	err := checkpoint.WriteSafetensors(&out, tensors, metadata)
	return out.Bytes(), err
}
