package main

import (
	"encoding/json"
	"fmt"
	"image"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// scores are PSNR in dB and SSIM of a restored image.
type scores struct{ psnr, ssim float64 }

func score(restored, truth picture.Image) (scores, error) {
	restored.Pix, truth.Pix = metric.Unit(restored.Pix), metric.Unit(truth.Pix)
	s, err := scoreUnit(restored, truth)
	return s, failed(err)
}

// scoreUnit is score of images on [0, 1].
func scoreUnit(restored, truth picture.Image) (scores, error) {
	p, err := metric.PSNR(restored.Pix, truth.Pix, 1, truth.C, truth.H, truth.W)
	if err != nil {
		return scores{}, err
	}
	s, err := metric.SSIM(restored.Pix, truth.Pix, 1, truth.C, truth.H, truth.W)
	if err != nil {
		return scores{}, err
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

// saveJSON writes a value as indented JSON, as a whole or not at all.
func saveJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return picture.Replace(path, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// createLog opens a file for lines, and follows no link: one that is there goes on with goOn,
// is replaced with force, and is an error without them.
func createLog(path string, goOn, force bool) (*os.File, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is there and no plain file: remove it", path)
	case goOn:
		return os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	case !force:
		return nil, fmt.Errorf("%s is there already: --force replaces it, --skip-existing appends to it, or name another --out", path)
	default:
		if err := os.Remove(path); err != nil { // it may have another name elsewhere
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
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

// pictureFormats are the formats of results, by name.
var pictureFormats = map[string]struct {
	ext  string
	save func(p picture.Image, path string) error
}{
	"png":   {".png", picture.Image.SavePNG},
	"png16": {".png", picture.Image.SaveDeep},
	"tiff":  {".tif", picture.Image.SaveDeep},
}

// mostInGrid is the number of pictures that a grid shows.
const mostInGrid = 256

// saveGrid draws a grid into a file and says where it is. The pictures are there already, so
// that a grid which can't be drawn is a warning.
func saveGrid(out, messages io.Writer, path string, draw func() (*image.RGBA, error)) {
	drawn, err := draw()
	if err == nil {
		err = picture.SavePNG(path, drawn)
	}
	if err != nil {
		fmt.Fprintf(messages, "cmi-native: no grid of the pictures: %v\n", err)
		return
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	fmt.Fprintln(out, "picture:", path)
}

// armName returns the method of a spec, and what the information term is taken for where it is on:
// "dps", "dps+cmi (fidelity)".
func armName(s job.Spec) string {
	if term, err := s.CMI.For(s.Method); err == nil && term.On {
		return fmt.Sprintf("%s+cmi (%s)", s.Method, term.Choice)
	}
	return s.Method
}
