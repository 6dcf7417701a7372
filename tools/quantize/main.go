// Command quantize writes a prior with 8-bit weights, which docs/priors.md describes, and says what they cost:
//
//	go run ./tools/quantize -in model.safetensors -out small.safetensors
//	go run ./tools/quantize -in model.safetensors -out small.safetensors -judge 'photos/*.png'
//
// Weights with two dimensions or more become I8 with a scale for each output, but for the layers named by -f16, which
// stay F16, as do biases, normalisations and weights of fewer than 512 values. With -judge it restores nothing: it adds
// noise to windows of pictures that the network was not trained on and compares the noise that both networks predict, by the schedule that the checkpoint names.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/pretrained"
)

// sensitive are the layers of faces64 and photos64 whose rounding alone changes ε by more than 0.1 % of its squared error at
// t = 800: the first and the last convolution, and what adds to the last one's input.
const sensitive = "input_blocks.0.0.weight,out.2.weight,output_blocks.7.0.skip_connection.weight,output_blocks.7.0.out_layers.3.weight"

// fewest is the number of values from which a weight is worth a scale of its own for each output.
const fewest = 512

func main() {
	in := flag.String("in", "", "checkpoint, any format")
	out := flag.String("out", "", "safetensors file to write")
	half := flag.String("f16", sensitive, "tensors that stay F16, separated by commas")
	judge := flag.String("judge", "", "pattern of pictures, whose windows of the network's size are judged")
	flag.Parse()
	if *in == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*in, *out, strings.Split(*half, ","), *judge); err != nil {
		fmt.Fprintln(os.Stderr, "quantize:", err)
		os.Exit(1)
	}
}

func run(in, out string, half []string, judge string) error {
	from, err := checkpoint.Open(in)
	if err != nil {
		return err
	}
	defer from.Close()
	file, err := convert(from, half)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, file, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, SHA-256 %x\n", out, len(file), sha256.Sum256(file))
	if judge == "" {
		return nil
	}
	to, err := checkpoint.Read(bytes.NewReader(file), int64(len(file)), out)
	if err != nil {
		return err
	}
	return compare(from, to, judge)
}

// convert returns the file with 8-bit weights. A name of half that the checkpoint lacks is an error.
func convert(from checkpoint.Source, half []string) ([]byte, error) {
	stays := map[string]bool{}
	for _, name := range half {
		if _, ok := from.Info(name); !ok && name != "" {
			return nil, fmt.Errorf("-f16 names %q, which the checkpoint does not have", name)
		}
		stays[name] = true
	}
	var tensors []checkpoint.Content
	for _, name := range from.Names() {
		t, _ := from.Info(name)
		values, err := from.Floats(name, t.Shape...)
		if err != nil {
			return nil, err
		}
		if len(t.Shape) < 2 || t.Len() < fewest || stays[name] {
			t.DType = checkpoint.F16
			tensors = append(tensors, checkpoint.Content{Tensor: t, Floats: values})
			continue
		}
		weights, scale, err := checkpoint.Quantize(t, values)
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, weights, scale)
	}
	var out bytes.Buffer
	err := checkpoint.WriteSafetensors(&out, tensors, from.Metadata())
	return out.Bytes(), err
}

// compare prints, for steps of the network's schedule, the mean squared error of the predicted noise by either file, by how much
// it grows, and how far the predictions are apart.
func compare(from, to checkpoint.Source, pattern string) error {
	dev := cpu.New(0)
	defer dev.Close()
	var models [2]prior.Model
	for i, source := range []checkpoint.Source{from, to} {
		m, err := pretrained.Load(dev, source, nil)
		if err != nil {
			return err
		}
		defer m.Close()
		models[i] = m
	}
	channels, height, width := models[0].Image()
	windows, err := windowsOf(pattern, channels, height, width)
	if err != nil {
		return err
	}
	var betas []float64
	if m, ok := models[0].(prior.Scheduled); ok {
		_, betas = m.NoiseSchedule()
	}
	if len(betas) != 1000 {
		return fmt.Errorf("the checkpoint has a schedule of %d steps, 1000 are wanted", len(betas))
	}
	alphaBar := diffusion.AlphaBars(betas)
	fmt.Printf("%d windows; squared errors of ε\n\n| t | before | with 8 bits | growth, %% | apart, %% of before |\n|---|---|---|---|---|\n", len(windows))
	for _, t := range []int{5, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 990} {
		var before, after, apart float64
		for i, x0 := range windows {
			draw := rand.New(rand.NewPCG(uint64(i), uint64(t)))
			noise, x := make([]float64, len(x0)), make([]float32, len(x0))
			for k, v := range x0 {
				noise[k] = draw.NormFloat64()
				x[k] = float32(math.Sqrt(alphaBar[t])*float64(v) + math.Sqrt(1-alphaBar[t])*noise[k])
			}
			a, err := predict(models[0], x, t)
			if err != nil {
				return err
			}
			b, err := predict(models[1], x, t)
			if err != nil {
				return err
			}
			for k, n := range noise {
				p, q := float64(a[k]), float64(b[k])
				before, after, apart = before+(p-n)*(p-n), after+(q-n)*(q-n), apart+(p-q)*(p-q)
			}
		}
		values := float64(len(windows) * len(windows[0]))
		fmt.Printf("| %d | %.6f | %.6f | %+.2f | %.2f |\n", t, before/values, after/values, 100*(after/before-1), 100*apart/before)
	}
	return nil
}

// predict returns ε of one picture at training step t.
func predict(m prior.Model, x []float32, t int) ([]float32, error) {
	c, h, w := m.Image()
	ws := compute.NewWorkspace(m.Device())
	defer ws.Free()
	in := ws.FromHost(x, 1, c, h, w)
	if err := ws.Err(); err != nil {
		return nil, err
	}
	at, err := m.At(in, []int{t})
	if err != nil {
		return nil, err
	}
	out := make([]float32, at.Out().Len())
	err = m.Device().Read(out, at.Out())
	return out[:len(x)], err
}

// windowsOf cuts pictures into windows that do not overlap, each channels × height × width on [−1, 1].
func windowsOf(pattern string, channels, height, width int) (all [][]float32, err error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		p, err := picture.Open(file)
		if err != nil {
			return nil, err
		}
		if p.C != channels {
			return nil, fmt.Errorf("%s has %d channels, the network %d", file, p.C, channels)
		}
		for top := 0; top+height <= p.H; top += height {
			for left := 0; left+width <= p.W; left += width {
				var window []float32
				for row := range channels * height {
					at := (row/height*p.H+top+row%height)*p.W + left
					window = append(window, p.Pix[at:at+width]...)
				}
				all = append(all, window)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("-judge " + pattern + ": no picture is as large as the network's window")
	}
	return all, nil
}
