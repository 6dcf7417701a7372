package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/measure"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/tiles"
)

// ownSize says that pictures keep their size and the prior covers them by windows: always
// with photos64, unless --resize or --crop ask for the prior's size.
func (f *restoreFlags) ownSize() bool {
	return f.tiles || f.whole || f.prior == "photos64" && !f.resize && !f.crop && !f.noPicture() && f.operator == ""
}

// openOwnSize opens the pictures at their own size and pads them by reflection where the
// prior's windows or the task need more.
func (f *restoreFlags) openOwnSize(c *cobra.Command, base prior.Model, args []string, todo []int) ([]job.Image, error) {
	channels, side, width := base.Image()
	factor, of, err := f.reduction(base)
	if err != nil {
		return nil, err
	}
	multiple := factor
	if f.whole { // a multiple of both
		m := base.(*network.Model).Multiple()
		if m == 0 {
			return nil, fmt.Errorf("--whole: the network of %s takes its own size alone: --tiles covers pictures by windows", f.prior)
		}
		for multiple%m != 0 {
			multiple += factor
		}
	}
	shared, err := f.inputs(c.Context(), nil, 0, 0)
	if err != nil {
		return nil, err
	}
	images := make([]job.Image, len(todo))
	f.reduced = 1
	if f.Measured {
		f.reduced = factor
	}
	f.sizes = make([][2]int, len(args))
	for i, at := range todo {
		path := args[at]
		p, err := interruptible(c.Context(), func() (picture.Image, error) { return f.openFit(c.InOrStdin(), path, of, 0, 0) })
		if err != nil {
			return nil, err
		}
		scale := f.reduced
		f.sizes[at] = [2]int{p.H * scale, p.W * scale}
		padded := func(length, least int) int {
			return (max(length*scale, least) + multiple - 1) / multiple * multiple / scale
		}
		h, w := padded(p.H, side), padded(p.W, width)
		if channels*h*scale > picture.MaxPixels/(w*scale) {
			return nil, fmt.Errorf("%s would be restored at %d×%d pixels, at most %d are possible: --resize or --crop scale it", path, w*scale, h*scale, picture.MaxPixels/channels)
		}
		images[i] = imageOf(p, f.firstImage-1+at)
		images[i].H, images[i].W, images[i].Pix = h, w, reflect(p.Pix, p.C, p.H, p.W, h, w)
		images[i].Kernel = shared.Kernel
		if f.mask != "" {
			mask, err := f.openMask(c.Context(), path, p.H, p.W)
			if err != nil {
				return nil, err
			}
			images[i].Mask = reflect(mask, 1, p.H, p.W, h, w)
		}
	}
	return images, nil
}

// reduction returns by which factor the task's measurements are smaller than pictures, and
// how many channels the files that are read have.
func (f *restoreFlags) reduction(base prior.Model) (factor, channels int, err error) {
	c, h, _ := base.Image()
	task, err := measure.FindTask(f.Task)
	if err != nil || task.Input != "" {
		return 1, c, err
	}
	spec := f.Spec
	spec.Measured = true
	of, mh, _, err := spec.Shape(base, job.Image{})
	switch {
	case err != nil && f.Measured:
		return 1, c, err
	case err != nil || h%mh != 0: // the measurement is no picture
		return 1, c, nil
	case f.Measured:
		return h / mh, of, nil
	}
	return h / mh, c, nil
}

// reflect extends planes of h×w to at least that size by reflection about the last row and
// column, over and over where that is not enough.
func reflect(pix []float32, planes, h, w, toH, toW int) []float32 {
	if h == toH && w == toW {
		return pix
	}
	at := func(i, length int) int {
		if length == 1 {
			return 0
		}
		i %= 2 * (length - 1)
		return min(i, 2*(length-1)-i)
	}
	out := make([]float32, 0, planes*toH*toW)
	for c := range planes {
		for y := range toH {
			row := pix[(c*h+at(y, h))*w:][:w]
			for x := range toW {
				out = append(out, row[at(x, w)])
			}
		}
	}
	return out
}

// cropped cuts a picture to the size that file number i had without padding.
func (f *restoreFlags) cropped(p picture.Image, i int) picture.Image {
	if f.sizes == nil || f.sizes[i] == [2]int{p.H, p.W} {
		return p
	}
	h, w := f.sizes[i][0], f.sizes[i][1]
	pix := make([]float32, 0, p.C*h*w)
	for c := range p.C {
		for y := range h {
			pix = append(pix, p.Pix[(c*p.H+y)*p.W:][:w]...)
		}
	}
	p.H, p.W, p.Pix = h, w, pix
	return p
}

// tilesFor returns how the prior of pictures of h×w is made for a batch, with as many windows
// at once as the device's memory holds, if --windows does not say how many.
func (f *restoreFlags) tilesFor(h, w, batch int) func(prior.Model) (prior.Model, error) {
	return func(base prior.Model) (prior.Model, error) {
		_, bh, bw := base.Image()
		o := tiles.Options{Seed: f.Seed, AtOnce: f.windows}
		for {
			m, err := tiles.New(base, h, w, o)
			if err != nil || f.windows > 0 || bh == h && bw == w {
				return m, err
			}
			settings, err := f.Spec.Options(m)
			if err != nil {
				return nil, err
			}
			if o.AtOnce == 0 { // activations need not be kept where nothing is differentiated
				if sdk.NewPlan(m, settings, batch).TakesValuesOnly() {
					o.AtOnce = valuesAtOnce
					if m, err = tiles.New(base, h, w, o); err != nil {
						return nil, err
					}
				}
			}
			err = sdk.NewPlan(m, settings, batch).Fits()
			if !errors.Is(err, compute.ErrMemory) || o.AtOnce == 1 {
				return m, nil // what still does not fit is refused with the job's advice
			}
			if o.AtOnce == 0 {
				o.AtOnce = m.Windows() * batch
			}
			o.AtOnce = (o.AtOnce + 1) / 2
		}
	}
}

// valuesAtOnce is how many windows are computed together where no derivative needs their
// activations: enough to keep a GPU busy.
const valuesAtOnce = 64

// ofOneSize splits images into batches of at most n, in order, each of one size.
func ofOneSize(images []job.Image, n int) (batches [][]job.Image) {
	for from := 0; from < len(images); {
		to := from + 1
		for to < len(images) && to-from < n && images[to].H == images[from].H && images[to].W == images[from].W {
			to++
		}
		batches = append(batches, slices.Clip(images[from:to]))
		from = to
	}
	return batches
}
