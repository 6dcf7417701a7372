package experiment

import (
	"context"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/metric"
	"github.com/cmi-diffusion/cmi/sdk/metric/fid"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// Frechet computes each cell's Fréchet distance between its restored pictures (the
// first samples) in the folder and the true ones, or reference where that is not
// nil, and puts it into s under a name, such as "FID". With fewer than two pictures
// it does nothing. It reads (cells + 1) × pictures files; onPicture, if not nil, is
// called for each.
func (f *Folder) Frechet(ctx context.Context, s *Summary, name string, features fid.Features, reference *fid.Statistics, onPicture func()) error {
	pictures := s.Cells[0].Pictures
	if pictures < 2 {
		return nil
	}
	statistics := func(path func(name string) string) (*fid.Statistics, error) {
		var all fid.Accumulator
		for _, name := range f.grid.Names[:pictures] {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			p, err := picture.Open(f.path(path(name)))
			if err != nil {
				return nil, err
			}
			one, dim, err := features.Features(metric.Unit(p.Pix), 1, p.C, p.H, p.W)
			if err == nil {
				err = all.Add(one, dim)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path(name), err)
			}
			if onPicture != nil {
				onPicture()
			}
		}
		return all.Statistics()
	}
	if reference == nil {
		var err error
		if reference, err = statistics(truthPath); err != nil {
			return err
		}
	}
	for i := range s.Cells {
		c := &s.Cells[i]
		own, err := statistics(func(name string) string { return Job{Cell: c.Cell, Name: name, Sample: 1}.picturePath() })
		if err != nil {
			return err
		}
		d, err := fid.Distance(own, reference)
		if err != nil {
			return fmt.Errorf("%s of %s %s: %w", name, c.Task, c.Arm(), err)
		}
		c.Frechet = &d
	}
	s.Frechet = name
	return nil
}

// FrechetPictures returns the number of pictures that [Folder.Frechet] reads.
func (s *Summary) FrechetPictures() int { return (len(s.Cells) + 1) * s.Cells[0].Pictures }
