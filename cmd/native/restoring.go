package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// restoring is a run of restore from the moment when nothing can be wrong with its input.
type restoring struct {
	*restoreFlags
	c           *cobra.Command
	places      []*sdk.Place
	names       []string // of the results; like manifests by the pictures' places in the list
	manifests   []manifest
	todo        []int // places of the pictures to restore
	jobs        []*job.Job
	scaled      factor    // of the intervals
	diagnostics io.Writer // nil without --diagnostics

	bar     *progress
	drawn   drawings
	rows    []picture.Row // of restored.png, in todo's order
	certain []certaintyRow
}

// run draws all samples, writes each as soon as it is there, and the grids.
func (r *restoring) run() error {
	passes := 0
	for _, j := range r.jobs {
		passes += j.Plan.Passes()
	}
	r.bar = newProgress(r.c.ErrOrStderr(), passes)
	shown := min(len(r.todo), mostInGrid)
	r.rows, r.certain = make([]picture.Row, shown), make([]certaintyRow, shown)
	r.drawn.of = map[int]*drawing{}
	if err := share(r.c.Context(), r.places, len(r.jobs), r.sample); err != nil {
		return err
	}
	r.bar.finish()
	r.drawGrids()
	return nil
}

// sample runs job k and keeps its pictures.
func (r *restoring) sample(ctx context.Context, lane, k int) error {
	j := r.jobs[k]
	report := r.bar.run(fmt.Sprintf("%s %s", j.Name(), armName(r.Spec)))
	var writeErr error
	var last sdk.Progress
	j.Options.OnStep = func(p sdk.Progress) {
		last = p
		report(p.Passes)
		for i, image := range j.Images {
			if r.diagnostics != nil {
				writeErr = errors.Join(writeErr, writeStep(r.diagnostics, image.Name, p.Of(i)))
			}
		}
	}
	restored, err := j.Run(ctx, r.places[lane])
	if err = errors.Join(err, writeErr); err != nil {
		return err
	}
	for i := range restored {
		at := r.indexOf(restored[i])
		one := r.cropped(pictureOf(restored[i]), at)
		if err := r.saveRestored(one, sampleName(r.names[at], restored[i].Sample)); err != nil {
			return err
		}
		if all := r.drawn.add(at, r.samples, j, i, one, last); all != nil {
			if err := r.finishPicture(at, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishPicture writes what stands beside a picture whose samples are all there, and tells of it.
func (r *restoring) finishPicture(at int, d *drawing) error {
	name, m := r.names[at], r.manifests[at]
	row, quality, err := r.save(d.job, d.in, d.samples[0], name)
	if err != nil {
		return err
	}
	place := slices.Index(r.todo, at)
	if place < len(r.rows) {
		r.rows[place] = row
	}
	m.Particles = d.particles
	if r.samples > 1 {
		said, more, err := r.saveCertainty(name, d, r.truth(d.job, d.in), r.scaled)
		if err != nil {
			return err
		}
		m.Certainty, more.cells = said, row
		if place < len(r.certain) {
			r.certain[place] = more
		}
	}
	r.bar.clear()
	return r.finish(r.c, m, name, r.results(name), quality)
}

// drawGrids draws restored.png and certainty.png.
func (r *restoring) drawGrids() {
	label := armName(r.Spec)
	grid := picture.Grid{Title: r.Task + ", " + label, Smooth: true, CellSize: 144, Rows: r.rows,
		Columns: []string{"truth", "measurement", label},
		Note:    fmt.Sprintf("σ_y = %g, %d steps, seed %d", r.SigmaY, r.Steps, r.Seed)}
	if r.Measured {
		grid.Columns = grid.Columns[1:]
	}
	if len(r.todo) > mostInGrid {
		grid.Note += fmt.Sprintf(". The first %d of %d pictures.", mostInGrid, len(r.todo))
	}
	r.saveGrid(r.c, "restored.png", grid.Draw)
	if r.samples > 1 {
		r.saveGrid(r.c, "certainty.png", func() (*image.RGBA, error) { return r.certaintyGrid(grid, r.certain) })
	}
}

// saveRestored writes a restored picture or a further sample of it.
func (f *restoreFlags) saveRestored(restored picture.Image, name string) error {
	path, format := filepath.Join(f.out, name), pictureFormats[f.format]
	if err := format.save(restored, path+format.ext); err != nil || !f.npy {
		return err
	}
	return restored.SaveNPY(path + ".npy")
}

// indexOf returns the place of an image's picture in the list.
func (f *restoreFlags) indexOf(image job.Image) int { return int(image.Number) - (f.firstImage - 1) }

// truth returns a job's picture i as it was before it was degraded, nil where it is not known.
func (f *restoreFlags) truth(j *job.Job, i int) *picture.Image {
	if f.Measured {
		return nil
	}
	p := f.cropped(pictureOf(j.Images[i]), f.indexOf(j.Images[i]))
	return &p
}

// save writes what a job's picture i was restored from, and returns the grid's row and the
// quality, where the truth is known.
func (f *restoreFlags) save(j *job.Job, i int, restored picture.Image, name string) (row picture.Row, quality *scores, err error) {
	path, seen := filepath.Join(f.out, name), measuredCell(j.Measurements[i])
	format := pictureFormats[f.format]
	if err := seen.Image.SaveNPY(path + ".measurement.npy"); err != nil {
		return row, nil, err
	}
	if shown := seen.Image.H > 1; !shown {
		seen = picture.Cell{Caption: "no picture"}
	} else if err := format.save(seen.Image, path+".measurement"+format.ext); err != nil {
		return row, nil, err
	}
	if err := saveInputs(path, j.Measurements[i]); err != nil {
		return row, nil, err
	}
	row.Label = name
	truth := f.truth(j, i)
	if truth == nil {
		row.Cells = []picture.Cell{seen, {Image: restored}}
		return row, nil, nil
	}
	q, err := score(restored, *truth)
	row.Cells = []picture.Cell{{Image: *truth}, seen, {Image: restored, Caption: q.String()}}
	return row, &q, err
}

// saveInputs writes what the operator of a measurement was made from, for --mask and --kernel.
func saveInputs(path string, y job.Measurement) error {
	if y.Inputs.Mask != nil {
		mask := picture.Image{C: 1, H: y.H, W: y.W, Pix: make([]float32, len(y.Inputs.Mask))}
		for i, known := range y.Inputs.Mask {
			mask.Pix[i] = 2*known - 1
		}
		return mask.SavePNG(path + ".mask.png")
	}
	if k := y.Inputs.Kernel; k != nil {
		return picture.SaveNPY(path+".kernel.npy", k.Weights, k.H, k.W)
	}
	return nil
}
