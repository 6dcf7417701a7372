package experiment

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
)

// RanksPlot draws the shares of the ranks of random projections, with a line where all would
// be under the exact posterior, as SVG.
func RanksPlot(counts []int) ([]byte, error) {
	total := 0
	for _, n := range counts {
		total += n
	}
	p := newPlot("Ranks of the truth among the samples, share of the projections", "samples below the truth")
	h := &plotter.Histogram{Width: .9, FillColor: palette[0]}
	for rank, n := range counts {
		h.Bins = append(h.Bins, plotter.HistogramBin{Min: float64(rank) - .45, Max: float64(rank) + .45, Weight: float64(n) / float64(total)})
	}
	p.Add(h, level(1/float64(len(counts))))
	p.X.Min, p.X.Max, p.Y.Min = -.6, float64(len(counts))-.4, 0
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	return svg(p, 520, 230)
}

// CoveragePlot draws, for strata of pixels, the share of the truth in intervals of each
// probability over the mean width of the widest ones, as SVG.
func CoveragePlot(levels []float64, strata [][]certainty.Stratum) ([]byte, error) {
	p := newPlot("Share of the truth in the intervals, by their width", "mean width of the 90 % interval, pictures in [-1, 1]")
	for i, of := range strata {
		var at plotter.XYs
		for k, s := range of {
			at = append(at, plotter.XY{X: strata[len(strata)-1][k].Width, Y: s.Coverage})
		}
		line, marks, err := plotter.NewLinePoints(at)
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: palette[i%len(palette)], Width: 1.4}
		marks.GlyphStyle = draw.GlyphStyle{Color: palette[i%len(palette)], Radius: 3, Shape: draw.CircleGlyph{}}
		p.Add(level(levels[i]), line, marks)
	}
	p.X.Min, p.Y.Min, p.Y.Max = 0, 0, 1
	p.X.Max *= 1.04
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	return svg(p, 520, 250)
}

// level is a horizontal line where everything would be right.
func level(y float64) *plotter.Function {
	line := plotter.NewFunction(func(float64) float64 { return y })
	line.LineStyle, line.Samples = draw.LineStyle{Color: color.Gray{130}, Width: 1}, 2
	return line
}
