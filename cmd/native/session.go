package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/cmi"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// subject is one image to restore.
type subject struct {
	name   string
	number uint64 // keys the random numbers
	truth  picture.Image
	task   string
}

// measured is a subject with its operator and measurement.
type measured struct {
	subject
	build     func(prior.Model, *measured) error // makes the operator
	home      prior.Model                        // on whose device it is
	op        measure.Operator                   // nil where the operator is nonlinear
	nonlinear measure.Differentiable             // nil where it is linear
	y         []float32
	keep      []float32 // pixels that are measured, where that is a mask
}

// settle moves the operator to a prior's device. The device that it was on, if that
// was another, is closed with everything on it.
func (m *measured) settle(to prior.Model) error {
	if m.home == to {
		return nil
	}
	err := m.build(to, m)
	if err == nil {
		m.home = to
	}
	return err
}

// closeAll releases the operators.
func closeAll(all []*measured) {
	for _, m := range all {
		if m.home != nil {
			m.forward().Close()
		}
	}
}

// forward is the operator, linear or not.
func (m *measured) forward() measure.Forward {
	if m.op != nil {
		return m.op
	}
	return m.nonlinear
}

// operatorFor is the operator of a subject's task.
func operatorFor(m prior.Model, s subject, seed uint64) (measure.Operator, error) {
	c, h, w := m.Image()
	rng := diffusion.Stream{Seed: seed, Image: s.number, Purpose: diffusion.Degradation}.Rand()
	return measure.ForTask(s.task, m.Device(), c, h, w, rng)
}

// observe degrades a subject: the operator and the noise depend on the seed and
// the subject's number alone.
func observe(m prior.Model, s subject, sigmaY float64, seed uint64) (*measured, error) {
	one := &measured{subject: s, build: func(m prior.Model, one *measured) (err error) {
		one.op, err = operatorFor(m, s, seed)
		return err
	}}
	if err := one.settle(m); err != nil {
		return nil, err
	}
	var err error
	if one.y, err = sdk.Measure(m.Device(), one.op, s.truth.Pix, sigmaY, seed, []uint64{s.number}); err == nil {
		one.keep, err = measure.MeasuredPixels(m.Device(), one.op)
	}
	if err != nil {
		closeAll([]*measured{one})
		return nil, failed(err)
	}
	return one, nil
}

// picture of the measurement itself.
func (m *measured) picture() picture.Image {
	c, h, w := m.forward().Out()
	return picture.Image{C: c, H: h, W: w, Pix: m.y, Name: m.name}
}

// scores are PSNR in dB and SSIM of a restored image.
type scores struct{ psnr, ssim float64 }

func score(restored, truth picture.Image) (scores, error) {
	x, y := metric.Unit(restored.Pix), metric.Unit(truth.Pix)
	p, err := metric.PSNR(x, y, 1, truth.C, truth.H, truth.W)
	if err != nil {
		return scores{}, failed(err)
	}
	s, err := metric.SSIM(x, y, 1, truth.C, truth.H, truth.W)
	if err != nil {
		return scores{}, failed(err)
	}
	return scores{p[0], s[0]}, nil
}

func (s scores) String() string {
	if math.IsInf(s.psnr, 1) {
		return "∞ dB  1.000"
	}
	return fmt.Sprintf("%.2f dB  %.3f", s.psnr, s.ssim)
}

// prepareFolder makes the output folder and proves that it can be written to,
// before any work.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("--out %s can't be written to: %w", dir, err)
	}
	return nil
}

// writable proves that files can be made in a folder.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// saveGrid draws a grid into a file and says where it is.
func saveGrid(out io.Writer, g picture.Grid, path string) error {
	drawn, err := g.Draw()
	if err != nil {
		return failed(err)
	}
	if err := picture.SavePNG(path, drawn); err != nil {
		return failed(err)
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	fmt.Fprintln(out, "picture:", path)
	return nil
}

// termName says which information term a run had.
func termName(method string, t *cmi.Options) string {
	if t == nil {
		return method
	}
	return method + "+cmi"
}
