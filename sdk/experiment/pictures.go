package experiment

import (
	"fmt"
	"image"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// grids draw the first pictures of each task: truth, measurement and every arm.
func (r Report) grids(f *Folder, s *Summary) (map[string]image.Image, error) {
	shown := min(r.Shown, s.Cells[0].Pictures)
	captions := map[string]string{}
	k := 0
	err := f.read(func(one *Result, _ int64) error {
		if k++; k > shown*f.grid.Len()/len(f.grid.Names) {
			return nil
		}
		psnr := "∞ dB"
		if one.PSNR != nil {
			psnr = fmt.Sprintf("%.2f dB", *one.PSNR)
		}
		captions[one.job().picturePath()] = fmt.Sprintf("%s  %.3f", psnr, one.LPIPS)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string]image.Image{}
	for _, task := range s.tasks() {
		g := picture.Grid{Columns: []string{"truth", "measurement"}, Smooth: true, CellSize: 128, Note: "Under each picture: PSNR and " + short(s.LPIPSName) + "."}
		for _, c := range s.Cells {
			if c.Task == task {
				g.Columns = append(g.Columns, c.Title())
			}
		}
		for _, name := range f.grid.Names[:shown] {
			row := picture.Row{Label: name}
			paths := []string{truthPath(name), measurementPath(task, name)}
			for _, c := range s.Cells {
				if c.Task == task {
					paths = append(paths, Job{Cell: c.Cell, Name: name, Sample: 1}.picturePath())
				}
			}
			for _, path := range paths {
				p, err := picture.Open(f.path(path))
				if err != nil {
					return nil, err
				}
				row.Cells = append(row.Cells, picture.Cell{Image: p, Caption: captions[path]})
			}
			g.Rows = append(g.Rows, row)
		}
		drawn, err := g.Draw()
		if err != nil {
			return nil, fmt.Errorf("pictures of %s: %w", task, err)
		}
		out[task] = drawn
	}
	return out, nil
}
