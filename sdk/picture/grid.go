package picture

import (
	"errors"
	"fmt"
	"image"
	"image/color"

	"golang.org/x/image/draw"
)

// Grid is a labelled table of pictures: a title, a heading over each column, a
// label before each row, a caption under each cell and a note at the foot. Every
// text may be empty and may hold line breaks; long ones wrap. A picture before
// and after is a grid of one row.
type Grid struct {
	Title   string
	Columns []string
	Rows    []Row
	Note    string
	Scale   *Scale // of cells that were drawn by it: its bar stands at the foot; nil for none
	// CellSize is the side of a cell in pixels, 160 if 0. Unless Smooth, it goes to
	// the nearest multiple of the largest image's side, so that pixels are shown as
	// squares of one size.
	CellSize int
	// Smooth interpolates the images of the grid's largest size. Smaller ones
	// (measurements of fewer pixels) always show their pixels as squares.
	Smooth bool
}

// Row is a row of cells, from the first column on.
type Row struct {
	Label string
	Cells []Cell
}

// Cell is a picture of any size and what is written under it, such as
// "26.9 dB  .812". A zero Image leaves the cell blank.
type Cell struct {
	Image   Image
	Caption string
	Keep    []float32 // as from Mask: pixels with 0 are drawn grey; nil keeps all
}

var (
	paper   = color.Gray{255}
	ink     = color.Gray{28}
	faint   = color.Gray{92}
	outline = color.Gray{208}
	missing = color.Gray{200} // a pixel that was not measured
)

// layout is a grid with every size in pixels known. Texts that are empty have no
// height, and then no gap either.
type layout struct {
	Grid
	largest           int // side of the largest image
	cell, margin, gap int
	title, note       block
	heads, labels     []block
	captions          [][]block
	headH, labelW     int   // of the headings and the labels
	colW, rowH, boxH  []int // boxH is the height of a row's cells without captions
	small             style // of the bar's numbers
	bar               block
	barH              int
	width, height     int
}

// Draw draws the grid on white. Values outside [−1, 1] are clamped; a value that
// is not finite is an error.
func (g Grid) Draw() (*image.RGBA, error) {
	l, err := g.layout()
	if err != nil {
		return nil, err
	}
	out := image.NewRGBA(image.Rect(0, 0, l.width, l.height))
	draw.Draw(out, out.Rect, image.NewUniform(paper), image.Point{}, draw.Src)

	l.title.draw(out, l.margin, l.margin, left, ink)
	x0 := l.margin + after(l.labelW, l.gap)
	y := l.margin + after(l.title.height, l.gap)
	for j, x := 0, x0; j < len(l.heads); j++ {
		l.heads[j].draw(out, x+l.colW[j]/2, y+l.headH-l.heads[j].height, centre, ink)
		x += l.colW[j] + l.gap
	}
	y += after(l.headH, l.gap/2)
	for i, row := range l.Rows {
		l.labels[i].draw(out, x0-l.gap, y+max((l.boxH[i]-l.labels[i].height)/2, 0), right, ink)
		for j, x := 0, x0; j < len(row.Cells); j++ {
			box := image.Rect(0, 0, l.cell, l.boxH[i]).Add(image.Pt(x+(l.colW[j]-l.cell)/2, y))
			if err := l.drawCell(out, box, row.Cells[j]); err != nil {
				return nil, fmt.Errorf("grid, row %d, column %d: %w", i+1, j+1, err)
			}
			l.captions[i][j].draw(out, x+l.colW[j]/2, y+l.boxH[i]+l.gap/3, centre, faint)
			x += l.colW[j] + l.gap
		}
		y += l.rowH[i] + l.gap
	}
	l.note.draw(out, l.margin, y, left, faint)
	if l.Scale != nil {
		l.Scale.drawBar(out, image.Pt(l.margin, y+after(l.note.height, l.gap)), l.width-2*l.margin, l.bar, l.small)
	}
	return out, nil
}

// after returns a size with a gap after it, or nothing.
func after(size, gap int) int {
	if size == 0 {
		return 0
	}
	return size + gap
}

func (g Grid) layout() (*layout, error) {
	l := &layout{Grid: g, cell: g.CellSize}
	columns := len(g.Columns)
	for _, row := range g.Rows {
		columns = max(columns, len(row.Cells))
		for _, c := range row.Cells {
			l.largest = max(l.largest, c.Image.H, c.Image.W)
		}
	}
	if columns == 0 || len(g.Rows) == 0 {
		return nil, errors.New("grid: no cells, want at least one row of one")
	}
	if l.cell == 0 {
		l.cell = 160
	}
	if l.cell < 16 || l.cell > 4096 {
		return nil, fmt.Errorf("grid: cells of %d pixels, want 16 to 4096", l.cell)
	}
	if !g.Smooth && 0 < l.largest && l.largest <= l.cell {
		l.cell = (l.cell + l.largest/2) / l.largest * l.largest
	}
	l.gap = max(l.cell/12, 8)
	l.margin = 2 * l.gap
	if err := l.texts(columns); err != nil {
		return nil, fmt.Errorf("grid: %w", err)
	}
	if l.width > MaxPixels/l.height {
		return nil, fmt.Errorf("grid: %d×%d pixels, want at most %d megapixels: fewer rows or smaller cells", l.width, l.height, MaxPixels/1_000_000)
	}
	return l, nil
}

// texts wraps every text and finds the sizes that follow.
func (l *layout) texts(columns int) error {
	size := min(max(float64(l.cell)/12, 11), 24)
	title, err1 := newStyle(bold, 1.4*size)
	strong, err2 := newStyle(bold, size)
	plain, err3 := newStyle(regular, size)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	l.colW, l.rowH, l.boxH = make([]int, columns), make([]int, len(l.Rows)), make([]int, len(l.Rows))
	for j := range l.colW {
		l.colW[j] = l.cell
	}
	for j, text := range l.Columns {
		b := strong.wrap(text, l.cell)
		l.heads = append(l.heads, b)
		l.headH, l.colW[j] = max(l.headH, b.height), max(l.colW[j], b.width)
	}
	l.captions = make([][]block, len(l.Rows))
	for i, row := range l.Rows {
		label := strong.wrap(row.Label, l.cell)
		l.labels = append(l.labels, label)
		l.labelW = max(l.labelW, label.width)
		l.boxH[i] = row.height(l.cell)
		l.rowH[i] = max(l.boxH[i], label.height)
		for j, c := range row.Cells {
			b := plain.wrap(c.Caption, l.cell+l.gap/2)
			l.captions[i] = append(l.captions[i], b)
			l.rowH[i], l.colW[j] = max(l.rowH[i], l.boxH[i]+after(b.height, l.gap/3)), max(l.colW[j], b.width)
		}
	}
	inner := after(l.labelW, l.gap) + (columns-1)*l.gap
	for _, w := range l.colW {
		inner += w
	}
	l.title = title.wrap(l.Title, inner)
	l.note = plain.wrap(l.Note, inner)
	if l.Scale != nil {
		if l.small, err1 = newStyle(regular, 13); err1 != nil {
			return err1
		}
		l.bar = l.small.wrap(l.Scale.Label, inner)
		l.barH = l.Scale.barHeight(l.bar, l.small)
	}
	l.width = 2*l.margin + max(inner, l.title.width, l.note.width)
	l.height = 2*l.margin + after(l.title.height, l.gap) + after(l.headH, l.gap/2) + after(l.note.height, l.gap) + after(l.barH, l.gap) - l.gap
	for _, h := range l.rowH {
		l.height += h + l.gap
	}
	return nil
}

// height returns the height of a row of cells of that width: less than it where all pictures are wide.
func (r Row) height(cell int) int {
	tallest := 0
	for _, c := range r.Cells {
		if m := c.Image; m.W > m.H && m.H > 0 {
			tallest = max(tallest, cell*m.H/m.W, 1)
		} else if m.H > 0 {
			return cell
		}
	}
	if tallest == 0 { // no picture
		return cell
	}
	return tallest
}

// drawCell draws a cell's image in the middle of the box, as large as fits.
func (l *layout) drawCell(to *image.RGBA, box image.Rectangle, c Cell) error {
	m := c.Image
	if m.Pix == nil && m.C == 0 {
		return nil
	}
	p, err := m.RGBA()
	if err != nil {
		return err
	}
	if c.Keep != nil && len(c.Keep) != m.H*m.W {
		return fmt.Errorf("mask of %d values for %s of %d×%d", len(c.Keep), m.name(), m.W, m.H)
	}
	for i, keep := range c.Keep {
		if keep == 0 {
			p.Set(i%m.W, i/m.W, missing)
		}
	}
	side := max(m.H, m.W)
	w, h := max(l.cell*m.W/side, 1), max(l.cell*m.H/side, 1)
	at := image.Rect(0, 0, w, h).Add(box.Min).Add(image.Pt((box.Dx()-w)/2, (box.Dy()-h)/2))
	draw.Draw(to, at.Inset(-1), image.NewUniform(outline), image.Point{}, draw.Src)
	var scale draw.Interpolator = draw.NearestNeighbor
	if side > l.cell || l.Smooth && side == l.largest {
		scale = draw.CatmullRom
	}
	scale.Scale(to, at, p, p.Rect, draw.Src, nil)
	return nil
}
