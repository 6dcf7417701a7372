package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// convShape is a convolution of the released 256×256 networks: channels in and out, the
// side of the image and the kernel's.
type convShape struct{ in, out, side, kernel int }

// heavyConvs are nearly all of the released networks' work.
var heavyConvs = []convShape{
	{128, 128, 256, 3}, {256, 128, 256, 3}, {256, 256, 256, 3}, {128, 128, 128, 3}, {256, 256, 128, 3}, {512, 256, 128, 3},
	{256, 256, 64, 3}, {512, 512, 64, 3}, {512, 512, 32, 3}, {1024, 512, 16, 3}, {512, 512, 8, 3}, {512, 1536, 16, 1},
}

// convRate is how fast a convolution is.
type convRate struct {
	In     int     `json:"in"`
	Out    int     `json:"out"`
	Side   int     `json:"side"`
	Kernel int     `json:"kernel"`
	Map    string  `json:"map"` // forward or adjoint
	TFLOPS float64 `json:"tflops"`
}

// benchConvsOn times them on a device and prints the rates.
func benchConvsOn(c *cobra.Command, device string, batch, rounds int, asJSON bool) error {
	dev, err := openDevice(c.Context(), device)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := convsFit(dev, batch); err != nil {
		return err
	}
	bar := newProgress(c.ErrOrStderr(), 2*len(heavyConvs))
	rates, err := benchConvs(c.Context(), dev, batch, rounds, bar)
	if err != nil {
		return failed(err)
	}
	bar.finish()
	return writeConvs(c.OutOrStdout(), dev.Info().Description, batch, rates, asJSON)
}

// convsFit refuses a batch that the device, or the host where its values are made, can't
// hold for the largest convolution.
func convsFit(dev compute.Device, batch int) error {
	largest := int64(0)
	for _, s := range heavyConvs {
		largest = max(largest, 4*int64(2*max(s.in, s.out)+s.in+s.out)*int64(s.side*s.side))
	}
	for where, free := range map[string]int64{dev.Info().Name: dev.Info().Memory, "the host": compute.HostMemory()} {
		if need := largest * int64(batch); free > 0 && need > free {
			return fmt.Errorf("--batch %d needs %d MiB of memory on %s, %d MiB are free: a batch of %d would fit: %w", batch, need>>20, where, free>>20, free/largest, compute.ErrMemory)
		}
	}
	return nil
}

// benchConvs times the heavy convolutions, each alone and many times in a row. A
// multiplication and an addition are two operations, whatever the algorithm.
func benchConvs(ctx context.Context, dev compute.Device, batch, rounds int, bar *progress) (rates []convRate, err error) {
	for _, s := range heavyConvs {
		for _, adjoint := range []bool{false, true} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			seconds, err := timeConv(dev, s, batch, rounds, adjoint)
			if err != nil {
				return nil, fmt.Errorf("%d → %d channels at %d²: %w", s.in, s.out, s.side, err)
			}
			operations := 2 * float64(batch) * float64(s.side*s.side) * float64(s.in*s.out) * float64(s.kernel*s.kernel)
			rates = append(rates, convRate{s.in, s.out, s.side, s.kernel, map[bool]string{false: "forward", true: "adjoint"}[adjoint], 1e-12 * operations / seconds})
			bar.run("convolutions")(1)
		}
	}
	return rates, nil
}

// timeConv returns the seconds of one convolution: the best of some rounds, each with as
// many in a row as make a few milliseconds.
func timeConv(dev compute.Device, s convShape, batch, rounds int, adjoint bool) (seconds float64, err error) {
	weight := make([]float32, s.out*s.in*s.kernel*s.kernel)
	for i := range weight {
		weight[i] = float32(math.Sin(float64(i)))
	}
	w, err := dev.PrepareConv(compute.ConvShape{Out: s.out, In: s.in, Kernel: s.kernel}, weight, nil)
	if err != nil {
		return 0, err
	}
	defer w.Free()
	ws := compute.NewWorkspace(dev)
	defer ws.Free()
	in, out := s.in, s.out
	if adjoint {
		in, out = out, in
	}
	values := make([]float32, batch*in*s.side*s.side) // not zeros: a GPU is faster on them
	for i := range values {
		values[i] = float32(math.Sin(float64(i) * 1.7))
	}
	src, dst := ws.FromHost(values, batch, in, s.side, s.side), ws.New(batch, out, s.side, s.side)
	if err := ws.Err(); err != nil {
		return 0, err
	}
	run := func(n int) (float64, error) {
		start := time.Now()
		for range n {
			dev.Conv(dst, src, w, compute.ConvMode{Adjoint: adjoint})
		}
		err := dev.Sync()
		return time.Since(start).Seconds() / float64(n), err
	}
	if _, err = run(1); err != nil { // lays out the weights
		return 0, err
	}
	once, err := run(1)
	n := max(1, min(100, int(0.01/max(once, 1e-6))))
	seconds = once
	for range rounds {
		if err == nil {
			once, err = run(n)
			seconds = min(seconds, once)
		}
	}
	return seconds, err
}

func writeConvs(out io.Writer, device string, batch int, rates []convRate, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(rates)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s, batch %d\tTFLOP/s\n", device, batch)
	for _, r := range rates {
		fmt.Fprintf(t, "%d×%d, %d → %d channels at %d², %s\t%.3f\n", r.Kernel, r.Kernel, r.In, r.Out, r.Side, r.Map, r.TFLOPS)
	}
	return t.Flush()
}
