package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/npy"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// open opens those of the pictures that are to be restored, one after the other, and fits
// them to what the prior or, where they are measurements, the task wants.
func (f *restoreFlags) open(c *cobra.Command, m prior.Model, args []string, todo []int) ([]job.Image, error) {
	if _, err := f.Spec.Options(m); err != nil { // what is wrong with the flags comes before what is wrong with a picture
		return nil, err
	}
	if f.ownSize() {
		return f.openOwnSize(c, m, args, todo)
	}
	paths := make([]string, len(todo))
	for i, at := range todo {
		paths[i] = args[at]
	}
	_, height, width := m.Image()
	g, err := f.inputs(c.Context(), paths, height, width)
	if err != nil {
		return nil, err
	}
	channels, h, w, err := f.Shape(m, g.of(0))
	if err != nil {
		return nil, err
	}
	images := make([]job.Image, len(paths))
	for i, path := range paths {
		p, err := interruptible(c.Context(), func() (picture.Image, error) { return f.openFit(c.InOrStdin(), path, channels, h, w) })
		size := (*picture.SizeError)(nil)
		switch wrong := errors.As(err, &size); {
		case wrong && !f.Measured && !f.resize && !f.crop:
			err = fmt.Errorf("%w, or --tiles to keep its size", err)
		case wrong && f.Measured:
			err = fmt.Errorf("%s is %d×%d, a measurement of task %s is %d×%d with this prior: leave out --measured where it is the picture to degrade, else --resize or --crop scale it",
				size.Name, size.W, size.H, f.Task, w, h)
		}
		if err != nil {
			return nil, err
		}
		images[i] = imageOf(p, f.firstImage-1+todo[i])
		one := g.of(i)
		images[i].Mask, images[i].Kernel, images[i].Matrix = one.Mask, one.Kernel, one.Matrix
	}
	return images, nil
}

// interruptible returns what read returns, or the context's error as soon as there is one: a
// pipe that nobody writes into would block for ever.
func interruptible[T any](ctx context.Context, read func() (T, error)) (value T, err error) {
	if err := ctx.Err(); err != nil {
		return value, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

// given is what operators are made from: a kernel or a matrix for all pictures, a mask for each.
type given struct {
	Kernel *measure.Kernel
	Matrix *measure.Matrix
	masks  [][]float32
}

func (g given) of(i int) job.Image {
	one := job.Image{Kernel: g.Kernel, Matrix: g.Matrix}
	if g.masks != nil {
		one.Mask = g.masks[i]
	}
	return one
}

// inputs reads the kernel, the matrix and the masks of pictures of h×w.
func (f *restoreFlags) inputs(ctx context.Context, paths []string, h, w int) (g given, err error) {
	if f.kernel != "" {
		k, err := interruptible(ctx, func() (measure.Kernel, error) { return readKernel(f.kernel) })
		if err != nil {
			return g, err
		}
		g.Kernel = &k
	}
	if f.operator != "" {
		if g.Matrix, err = interruptible(ctx, func() (*measure.Matrix, error) { return measure.OpenMatrix(f.operator) }); err != nil {
			return g, err
		}
	}
	for _, path := range paths {
		if f.mask == "" {
			break
		}
		mask, err := f.openMask(ctx, path, h, w)
		if err != nil {
			return g, err
		}
		g.masks = append(g.masks, mask)
	}
	return g, nil
}

// openMask reads the mask of a picture of h×w.
func (f *restoreFlags) openMask(ctx context.Context, path string, h, w int) ([]float32, error) {
	file, err := f.maskOf(path)
	if err != nil {
		return nil, err
	}
	mask, err := interruptible(ctx, func() ([]float32, error) { return picture.OpenMask(file, h, w) })
	for k, v := range mask {
		if f.invertMask {
			mask[k] = 1 - v
		}
	}
	return mask, err
}

// maskOf is the mask's file of a picture.
func (f *restoreFlags) maskOf(name string) (string, error) {
	if info, err := os.Stat(f.mask); err != nil || !info.IsDir() {
		return f.mask, nil
	}
	name = strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	for _, ext := range append([]string{".npy"}, pictureTypes...) {
		path := filepath.Join(f.mask, name+ext)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("--mask %s has no mask %s (.png, .npy, …) for the picture of that name", f.mask, name)
}

// openFit opens a picture or an array (.npy) as an image of so many channels and fits it to
// h×w; where these are 0 it keeps its size.
func (f *restoreFlags) openFit(in io.Reader, path string, channels, h, w int) (p picture.Image, err error) {
	switch {
	case isArray(path):
		return f.openArray(path, channels, h, w)
	case f.noPicture():
		return p, fmt.Errorf("%s: a measurement of task %s is no picture: give it as an array (.npy) of shape [%d %d %d], as restore writes it", path, f.Task, channels, h, w)
	case channels != 1 && channels != 3:
		return p, fmt.Errorf("%s: images of %d channels are wanted, a picture has 3: give an array (.npy) of shape [%d %d %d]", path, channels, channels, h, w)
	case path == "-":
		p, err = f.decode(in, "stdin", h, w)
	default:
		var file *os.File
		if file, err = os.Open(path); err != nil {
			return p, err
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return p, fmt.Errorf("%s is a folder, a picture file is wanted: %s for all of it", path, filepath.Join(path, "*"))
		}
		p, err = f.decode(file, path, h, w)
	}
	if channels == 1 {
		p = p.Grey()
	}
	return p, err
}

func (f *restoreFlags) decode(from io.Reader, name string, h, w int) (picture.Image, error) {
	if h == 0 {
		return picture.Decode(from, name)
	}
	return picture.DecodeFit(from, name, h, w, f.fit())
}

func isArray(path string) bool { return strings.EqualFold(filepath.Ext(path), ".npy") }

// noPicture says that the inputs are measurements without values of black and white.
func (f *restoreFlags) noPicture() bool {
	task, err := measure.FindTask(f.Task)
	return err == nil && task.NoPicture && f.Measured
}

// openArray opens an array as an image of that shape. An array does not say which values
// are black and white, so values that are unlikely with −1 and 1 want --range.
func (f *restoreFlags) openArray(path string, channels, h, w int) (picture.Image, error) {
	black, white := -1.0, 1.0
	if len(f.valueRange) == 2 {
		black, white = f.valueRange[0], f.valueRange[1]
	}
	p, err := picture.OpenArray(path, black, white)
	if err != nil {
		return p, err
	}
	least, most := slices.Min(p.Pix), slices.Max(p.Pix)
	if beyond := float32(1.5 + 6*f.SigmaY); len(f.valueRange) == 0 && !f.noPicture() && (least >= 0 || least < -beyond || most > beyond) {
		likely := "0,1"
		for _, white := range []string{"255", "65535"} {
			if most > 2 {
				likely = "0," + white
			}
			if most <= 256 {
				break
			}
		}
		return p, fmt.Errorf("%s has values from %g to %g: say which are black and white, as with --range %s, or --range=-1,1 where they are -1 and 1", path, least, most, likely)
	}
	if len(f.valueRange) == 2 && !f.noPicture() {
		sorted := slices.Clone(p.Pix)
		slices.Sort(sorted)
		// Most are far beyond black and white, or all are nearly one grey.
		if middle := sorted[len(sorted)/2]; middle < -2 || middle > 2 || most > least && most-least < 0.02 {
			value := func(v float32) float64 { return black + (white-black)*(float64(v)+1)/2 }
			return p, fmt.Errorf("%s has values from %g to %g: with --range %g,%g that is no picture; give the values that are black and white", path, value(least), value(most), black, white)
		}
	}
	switch {
	case f.noPicture() && len(p.Pix) == channels*h*w && p.W == w:
		p.C, p.H, p.W = channels, h, w // [C, m] and [m] of a matrix
	case f.noPicture():
		return p, fmt.Errorf("%s has shape [%d %d %d], a measurement of task %s has [%d %d %d] with this prior", path, p.C, p.H, p.W, f.Task, channels, h, w)
	case channels == 1:
		p = p.Grey()
	case channels == 3:
		p = p.Coloured()
	}
	if p.C != channels {
		return p, fmt.Errorf("%s has %d channels, %d are wanted", path, p.C, channels)
	}
	if h == 0 || p.H == h && p.W == w {
		return p, nil
	}
	return picture.Fit(p, h, w, f.fit())
}

// readKernel reads a blur kernel from a picture, see [measure.PictureKernel], or from a
// NumPy array (.npy, two dimensions).
func readKernel(path string) (k measure.Kernel, err error) {
	if src, notPicture := picture.OpenSource(path); notPicture == nil {
		k, err = measure.PictureKernel(src)
	} else if k, err = readNpy(path); err == nil {
		k, err = measure.NewKernel(k.H, k.W, k.Weights)
	} else {
		return k, err // which names the path
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return k, err
}

func readNpy(path string) (k measure.Kernel, err error) {
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 1<<24 {
		return k, fmt.Errorf("%s has %d bytes, a kernel of at most 16 MiB is wanted", path, info.Size())
	}
	values, shape, err := npy.Read(bufio.NewReader(f))
	if err != nil {
		return k, fmt.Errorf("%s: neither a picture nor a NumPy array (.npy) of two dimensions: %w", path, err)
	}
	if len(shape) != 2 {
		return k, fmt.Errorf("%s has shape %v, a kernel has 2 dimensions", path, shape)
	}
	return measure.Kernel{H: shape[0], W: shape[1], Weights: values}, nil
}
