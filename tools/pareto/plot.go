package main

import (
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// inks has a colour for each contender, told apart by the colour-blind too (Okabe & Ito 2008).
var inks = []color.RGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}, {90, 90, 90, 255}, {160, 120, 60, 255}, {0, 0, 0, 255}}

// draw plots the LPIPS-like distance of each task against the passes, both on logarithmic axes.
func draw(path string, scores []score) error {
	names := tasks(scores)
	const columns = 4
	rows := (len(names) + 1 + columns - 1) / columns
	c := vgimg.New(columns*190, vg.Length(rows)*170)
	tiles := vgdraw.Tiles{Rows: rows, Cols: columns, PadX: 8, PadY: 8}
	canvas := vgdraw.New(c)
	legend := plot.NewLegend()
	for i, task := range names {
		p := plot.New()
		p.Title.Text, p.X.Scale, p.X.Tick.Marker = task, plot.LogScale{}, plot.ConstantTicks{{Value: 25, Label: "25"}, {Value: 50, Label: "50"}, {Value: 100, Label: "100"}, {Value: 200, Label: "200"}}
		p.X.Label.Text = "passes"
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.ConstantTicks{{Value: .03, Label: ".03"}, {Value: .05, Label: ".05"}, {Value: .1, Label: ".1"}, {Value: .2, Label: ".2"}, {Value: .4, Label: ".4"}}
		for k, contender := range contenders {
			var xy plotter.XYs
			for _, s := range scores {
				if s.task == task && s.contender == contender.name {
					xy = append(xy, plotter.XY{X: s.passes, Y: s.lpips})
				}
			}
			if xy == nil {
				continue
			}
			line, marks, err := plotter.NewLinePoints(xy)
			if err != nil {
				return err
			}
			line.Color, marks.Color, marks.Shape = inks[k], inks[k], vgdraw.CircleGlyph{}
			p.Add(line, marks)
			if i == 0 {
				legend.Add(contender.name, line, marks)
			}
		}
		p.Draw(tiles.At(canvas, i%columns, i/columns))
	}
	legend.Top, legend.Left = true, true
	legend.Draw(tiles.At(canvas, len(names)%columns, len(names)/columns))
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
