package experiment

import (
	"bytes"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// palette has a colour for each method, told apart by the colour-blind too (Okabe &
// Ito 2008).
var palette = []color.RGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}}

// inks returns the methods' colours in the summary's order.
func (s *Summary) inks() map[string]color.RGBA {
	inks := map[string]color.RGBA{}
	for _, c := range s.Cells {
		if _, ok := inks[c.Method]; !ok {
			inks[c.Method] = palette[len(inks)%len(palette)]
		}
	}
	return inks
}

var (
	dark  = color.Gray{70}
	faint = color.Gray{226}
)

// newPlot returns an empty plot in the report's style.
func newPlot(title, x string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, x
	for style, size := range map[*text.Style]vg.Length{
		&p.Title.TextStyle: 12, &p.X.Label.TextStyle: 10, &p.X.Tick.Label: 9, &p.Y.Tick.Label: 9,
	} {
		style.Font.Variant, style.Font.Size, style.Color = "Sans", size, dark
	}
	p.Title.TextStyle.Color, p.Title.Padding = color.Gray{28}, 8
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = color.Gray{150}, color.Gray{150}
		axis.Padding = 0
	}
	p.Y.Tick.Marker = plot.TickerFunc(ticks)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, faint
	p.Add(grid)
	return p
}

// svg draws a plot of a size in points. Fonts are the reader's: Arial has the
// measures of Liberation, with which the text was set.
func svg(p *plot.Plot, width, height vg.Length) ([]byte, error) {
	c := vgsvg.New(width, height)
	p.Draw(draw.New(c))
	var out bytes.Buffer
	_, err := c.WriteTo(&out)
	return []byte(strings.ReplaceAll(out.String(), "font-family:Liberation Sans", "font-family:Liberation Sans,Arial,Helvetica,sans-serif")), err
}

// divider is a vertical line between tasks.
type divider float64

func (d divider) Plot(c draw.Canvas, p *plot.Plot) {
	toX, _ := p.Transforms(&c)
	x := toX(float64(d))
	c.StrokeLine2(draw.LineStyle{Color: faint, Width: 0.7}, x, c.Min.Y, x, c.Max.Y)
}

// ticks returns about five round numbers.
func ticks(low, high float64) []plot.Tick {
	if !(high-low > 1e-9*max(math.Abs(low), math.Abs(high))) { // steps would be lost in rounding
		return []plot.Tick{{Value: low, Label: fixed(low, 2)}}
	}
	power := math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	step := power
	for _, m := range []float64{2, 5, 10} {
		if (high-low)/step > 6 {
			step = m * power
		}
	}
	digits := int(max(0, -math.Floor(math.Log10(step)+1e-9)))
	var out []plot.Tick
	for k := math.Ceil(low / step); k*step <= high; k++ {
		out = append(out, plot.Tick{Value: k * step, Label: fixed(k*step+0, digits)})
	}
	return out
}

// points are values with intervals, one for each task that has one.
type points struct {
	plotter.XYs
	plotter.YErrors
}

func (p *points) add(x float64, v Interval) {
	if !math.IsNaN(v.Value) {
		p.XYs = append(p.XYs, plotter.XY{X: x, Y: v.Value})
		if math.IsNaN(v.Low) { // a single picture has no bar
			v.Low, v.High = v.Value, v.Value
		}
		p.YErrors = append(p.YErrors, struct{ Low, High float64 }{v.Value - v.Low, v.High - v.Value})
	}
}

// intervals plots a value of each cell with its interval, tasks side by side: open
// circles are without the information term, full ones with it.
// A line is drawn where nothing is changed or everything is right.
func (s *Summary) intervals(title string, reference float64, of func(c *CellSummary) *Interval) ([]byte, error) {
	p := newPlot(title, "")
	tasks, inks := s.tasks(), s.inks()
	if !math.IsNaN(reference) {
		p.Add(level(reference))
		p.Y.Min, p.Y.Max = reference, reference
	}
	var arms []Cell
	for i := range s.Cells {
		if c := s.Cells[i]; c.Task == tasks[0] && of(&c) != nil {
			arms = append(arms, c.Cell)
		}
	}
	for k, arm := range arms {
		var at points
		for i, task := range tasks {
			c := s.cell(Cell{task, arm.Method, arm.CMI})
			at.add(float64(i)+0.8*((float64(k)+0.5)/float64(len(arms))-0.5), *of(c))
		}
		if len(at.XYs) == 0 {
			continue
		}
		bars, err := plotter.NewYErrorBars(at)
		if err != nil {
			return nil, err
		}
		bars.LineStyle.Color, bars.LineStyle.Width, bars.CapWidth = inks[arm.Method], 1.2, 4
		marks, err := plotter.NewScatter(at.XYs)
		if err != nil {
			return nil, err
		}
		marks.GlyphStyle = draw.GlyphStyle{Color: inks[arm.Method], Radius: 3, Shape: draw.CircleGlyph{}}
		p.Add(bars, marks)
		if arm.CMI == Without { // open: a white disc inside
			inner := *marks
			inner.GlyphStyle.Color, inner.GlyphStyle.Radius = color.White, 1.8
			p.Add(&inner)
		}
	}
	p.NominalX(tasks...)
	p.X.Tick.LineStyle.Width, p.X.Tick.Length = 0, 0
	p.X.Min, p.X.Max = -0.5, float64(len(tasks))-0.5
	for i := 1; i < len(tasks); i++ {
		p.Add(divider(float64(i) - 0.5))
	}
	margin := 0.05 * (p.Y.Max - p.Y.Min)
	p.Y.Min, p.Y.Max = p.Y.Min-margin, p.Y.Max+margin
	return svg(p, 520, 230)
}

// curves plots a value of each step of a task's cells: dashed without the
// information term, drawn through with it. Empty where no cell has a value.
func (s *Summary) curves(task, title string, of func(c *CellSummary) Curve) ([]byte, error) {
	p := newPlot(title, "step")
	inks := s.inks()
	any := false
	for i := range s.Cells {
		c := &s.Cells[i]
		if c.Task != task {
			continue
		}
		var at plotter.XYs
		for k, v := range of(c) {
			if !math.IsNaN(v) {
				at = append(at, plotter.XY{X: float64(k + 1), Y: v})
			}
		}
		if len(at) == 0 {
			continue
		}
		line, err := plotter.NewLine(at)
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: inks[c.Method], Width: 1.4}
		if c.CMI == Without {
			line.LineStyle.Dashes = []vg.Length{4, 3}
		}
		p.Add(line)
		any = true
	}
	if !any {
		return nil, nil
	}
	p.X.Min, p.X.Max = 0, float64(len(s.Cells[0].Residual))
	p.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		return slices.DeleteFunc(ticks(low, high), func(t plot.Tick) bool { return t.Value != math.Trunc(t.Value) })
	})
	p.Y.Min = min(p.Y.Min, 0)
	p.Y.Max += 0.05 * (p.Y.Max - p.Y.Min)
	return svg(p, 520, 250)
}

// plots returns the report's, by file name, in the order in which they are shown:
// first those of all tasks, then two for each task.
func (s *Summary) plots() (names []string, files map[string][]byte, err error) {
	files = map[string][]byte{}
	add := func(name string, data []byte, e error) {
		if e != nil && err == nil {
			err = e
		}
		if data != nil {
			names, files[name] = append(names, name), data
		}
	}
	compares := slices.ContainsFunc(s.Cells, func(c CellSummary) bool { return c.Difference != nil })
	for m := range measures {
		data, e := s.intervals(s.head(m), math.NaN(), func(c *CellSummary) *Interval { return &c.Mean[m] })
		add(measures[m].name+".svg", data, e)
		if compares {
			data, e := s.differences(m)
			add("difference-"+measures[m].name+".svg", data, e)
		}
	}
	if s.Cells[0].Exchangeability != nil {
		for d, name := range [2]string{"squared error", short(s.LPIPSName)} {
			data, e := s.intervals("Exchangeability, "+name+" → 1", 1, func(c *CellSummary) *Interval { return &c.Exchangeability[d] })
			add([2]string{"exchangeability-mse.svg", "exchangeability-lpips.svg"}[d], data, e)
		}
	}
	for _, task := range s.tasks() {
		data, e := s.curves(task, "Residual ‖y − A x̂0‖", func(c *CellSummary) Curve { return c.Residual })
		add(task+"-residual.svg", data, e)
		data, e = s.curves(task, "Information I(x0; y | x_t), nats", func(c *CellSummary) Curve { return c.Information })
		add(task+"-information.svg", data, e)
	}
	return names, files, err
}

// differences plots a measure's paired differences.
func (s *Summary) differences(m int) ([]byte, error) {
	return s.intervals("Δ "+s.head(m)+", with the term less without it", 0, func(c *CellSummary) *Interval {
		if c.Difference == nil {
			return nil
		}
		return &c.Difference[m]
	})
}
