package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
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
	factor, of, err := f.Reduction(base)
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
		images[i].H, images[i].W, images[i].Pix = h, w, job.Reflect(p.Pix, p.C, p.H, p.W, h, w)
		images[i].Kernel = shared.Kernel
		if f.mask != "" {
			mask, err := f.openMask(c.Context(), path, p.H, p.W)
			if err != nil {
				return nil, err
			}
			images[i].Mask = job.Reflect(mask, 1, p.H, p.W, h, w)
		}
	}
	return images, nil
}

// cropped cuts a picture to the size that file number i had without padding.
func (f *restoreFlags) cropped(p picture.Image, i int) picture.Image {
	if f.sizes == nil || f.sizes[i] == [2]int{p.H, p.W} {
		return p
	}
	h, w := f.sizes[i][0], f.sizes[i][1]
	p.H, p.W, p.Pix = h, w, job.Crop(p.Pix, p.C, p.H, p.W, h, w)
	return p
}

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
