//go:build gl

// Command viewer shows a restoration while it runs: the measurement, the Tweedie
// mean x̂0 of DPS and of CMI+DPS after every step, and the truth, side by side in
// an OpenGL window. Escape or closing the window stops within one step.
//
//	CGO_ENABLED=1 go run -tags gl ./examples/viewer [face.png]
//
// It needs a C compiler and the development files of OpenGL and X11 (Debian:
// libgl1-mesa-dev xorg-dev).
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"

	"github.com/cmi-diffusion/cmi/examples/faces"
	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/checkpoint/faces64"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

func init() { runtime.LockOSThread() } // the window belongs to the main thread

func main() {
	steps := flag.Int("steps", 100, "reverse steps")
	shot := flag.String("shot", "", "save the window's last frame as this PNG `FILE`, and end")
	flag.Parse()
	if err := run(*steps, flag.Arg(0), *shot); err != nil {
		log.Fatal(err)
	}
}

// The panels of the window, from left to right.
const (
	measurementPanel = iota
	dpsPanel
	cmiPanel
	truthPanel
	panels
)

// frame is a picture for one panel, and the window's title ("" leaves it).
type frame struct {
	panel int
	image picture.Image
	title string
}

func run(steps int, path, shot string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	truth, err := open(path)
	if err != nil {
		return err
	}
	w, err := openWindow(panels, 256)
	if err != nil {
		return err
	}
	defer w.close()

	var failure error // of the sampler, once frames is closed
	frames := make(chan frame, 8)
	go func() {
		failure = restore(ctx, truth, steps, frames)
		close(frames)
	}()
	defer func() { // let it end before the window goes
		stop()
		for range frames {
		}
	}()
	for coming := frames; !w.wantsToClose(); w.draw() {
		select {
		case f, more := <-coming:
			if more {
				err = w.show(f)
			} else {
				coming, err = nil, failure
			}
			if err == nil && !more && shot != "" {
				return w.save(shot)
			}
			if err != nil {
				return err
			}
		default: // nothing new: draw and look at the keyboard
		}
	}
	return nil
}

// open returns the picture at path, or the first of the faces that come along.
func open(path string) (picture.Image, error) {
	if path == "" {
		all, err := faces.Load(1)
		if err != nil {
			return picture.Image{}, err
		}
		return all[0], nil
	}
	p, err := picture.Open(path)
	if err != nil {
		return p, err
	}
	return picture.Fit(p, 64, 64, picture.Crop)
}

// restore samples with DPS and with CMI+DPS, and sends what there is to see.
func restore(ctx context.Context, truth picture.Image, steps int, frames chan<- frame) error {
	dev := cpu.New(0)
	defer dev.Close()
	file, err := faces64.Open()
	if err != nil {
		return err
	}
	model, err := unet.Load(dev, file, nil)
	if err != nil {
		return err
	}
	defer model.Close()
	op, err := measure.NewSuperResolution(dev, 3, 64, 64, 4)
	if err != nil {
		return err
	}
	defer op.Close()
	y, err := sdk.Measure(dev, op, truth.Pix, 0.05, 1, nil)
	if err != nil {
		return err
	}
	c, h, w := op.Out()
	frames <- frame{measurementPanel, picture.Image{C: c, H: h, W: w, Pix: y}, ""}
	frames <- frame{truthPanel, truth, ""}
	term := cmi.Defaults()
	for panel, term := range []*cmi.Options{dpsPanel: nil, cmiPanel: &term} {
		if panel < dpsPanel {
			continue
		}
		opts, err := sdk.Defaults(model, "sr4", steps)
		if err != nil {
			return err
		}
		opts.CMI, opts.Preview = term, true
		opts.OnStep = func(p sdk.Progress) {
			frames <- frame{panel, picture.Image{C: 3, H: 64, W: 64, Pix: p.Preview}, title(p)}
		}
		x, err := sdk.Restore(ctx, sdk.Problem{Prior: model, Operator: op, Y: y, N: 1, SigmaY: 0.05}, opts)
		if err != nil {
			return err
		}
		frames <- frame{panel, picture.Image{C: 3, H: 64, W: 64, Pix: x}, "measurement · DPS · CMI+DPS · truth"}
	}
	return nil
}

func title(p sdk.Progress) string {
	s := fmt.Sprintf("step %d of %d, residual %.2f", p.Step, p.Steps, p.Residual[0])
	if p.Information != nil {
		s += fmt.Sprintf(", information %.0f nats", p.Information[0])
	}
	return s
}
