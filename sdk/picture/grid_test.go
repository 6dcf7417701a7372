package picture_test

import (
	"image"
	"image/color"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// find returns how many pixels have a colour and the box around them.
func find(p *image.RGBA, c color.RGBA) (count int, box image.Rectangle) {
	for y := range p.Rect.Dy() {
		for x := range p.Rect.Dx() {
			if p.RGBAAt(x, y) == c {
				count++
				box = box.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return count, box
}

// cellColour returns one that text does not have.
func cellColour(i, j int) color.RGBA { return color.RGBA{uint8(60 + 40*i), 20, uint8(80 + 40*j), 255} }

func colourImage(h, w int, c color.RGBA) picture.Image {
	at := func(v uint8) float32 { return float32(v)/127.5 - 1 }
	return flat(h, w, at(c.R), at(c.G), at(c.B))
}

func testGrid(rows, columns int) picture.Grid {
	g := picture.Grid{Title: "Faces", Note: strings.Repeat("A note that has to wrap. ", 12)}
	for j := range columns {
		g.Columns = append(g.Columns, []string{"Measurement", "A heading of several words", "Donaudampfschifffahrtsgesellschaft"}[j%3])
	}
	for i := range rows {
		row := picture.Row{Label: []string{"", "two\nlines", "a label of several words, each of them short"}[i%3]}
		for j := range columns {
			side := []int{64, 16, 24}[j%3]
			row.Cells = append(row.Cells, picture.Cell{Image: colourImage(side, side, cellColour(i, j)), Caption: strings.Repeat("26.9 dB ", 1+4*(i*j%2))})
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

// Every cell is a full square in its place, whatever text surrounds it, and no
// text reaches the edge.
func TestGridDrawsEveryCell(t *testing.T) {
	for _, smooth := range []bool{false, true} {
		for _, size := range []struct{ asked, blocks int }{{0, 192}, {100, 128}, {30, 30}} {
			g := testGrid(3, 4)
			g.Smooth, g.CellSize = smooth, size.asked
			side := size.blocks
			if smooth && size.asked != 30 {
				side = max(size.asked, 100)
			}
			if smooth && size.asked == 0 {
				side = 160
			}
			p, err := g.Draw()
			require.NoError(t, err)
			boxes := make([][]image.Rectangle, 3)
			for i := range 3 {
				for j := range 4 {
					count, box := find(p, cellColour(i, j))
					require.Equal(t, image.Pt(side, side), box.Size(), "cell %d, %d", i, j)
					require.Equal(t, side*side, count)
					require.Equal(t, cellColour(i, j), p.RGBAAt((box.Min.X+box.Max.X)/2, (box.Min.Y+box.Max.Y)/2))
					boxes[i] = append(boxes[i], box)
					if i > 0 {
						require.Equal(t, boxes[0][j].Min.X, box.Min.X, "columns are straight")
						require.Greater(t, box.Min.Y, boxes[i-1][j].Max.Y)
					}
					if j > 0 {
						require.Equal(t, boxes[i][0].Min.Y, box.Min.Y, "rows are straight")
						require.Greater(t, box.Min.X, boxes[i][j-1].Max.X)
					}
				}
			}
			inner := p.Rect.Inset(8)
			for i := range p.Rect.Dx() * p.Rect.Dy() {
				at := image.Pt(i%p.Rect.Dx(), i/p.Rect.Dx())
				if !at.In(inner) && p.RGBAAt(at.X, at.Y).G != 255 {
					require.Equal(t, color.RGBA{255, 255, 255, 255}, p.RGBAAt(at.X, at.Y), "margin at %v", at)
				}
			}
		}
	}
}

func dark(p *image.RGBA, in image.Rectangle) (n int) {
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			if p.RGBAAt(x, y).G < 128 {
				n++
			}
		}
	}
	return n
}

// Each text is drawn on its own side of the cell, and takes no room when empty.
func TestGridTexts(t *testing.T) {
	red := color.RGBA{255, 0, 0, 255}
	bare := picture.Grid{Rows: []picture.Row{{Cells: []picture.Cell{{Image: colourImage(16, 16, red)}}}}}
	plain, err := bare.Draw()
	require.NoError(t, err)
	_, box := find(plain, red)
	require.Equal(t, box.Dx(), dark(plain, plain.Rect)/box.Dy(), "the cell is all there is")
	require.Equal(t, plain.Rect.Max.Sub(box.Max), box.Min, "margins are even")

	for side, write := range map[string]func(*picture.Grid){
		"above": func(g *picture.Grid) { g.Title = "Title" },
		"over":  func(g *picture.Grid) { g.Columns = []string{"Heading"} },
		"left":  func(g *picture.Grid) { g.Rows = []picture.Row{{Label: "Row", Cells: g.Rows[0].Cells}} },
		"below": func(g *picture.Grid) { g.Note = "Note σ² ∞" },
		"under": func(g *picture.Grid) {
			g.Rows = []picture.Row{{Cells: []picture.Cell{{Image: g.Rows[0].Cells[0].Image, Caption: "26.9 dB"}}}}
		},
	} {
		g := bare
		write(&g)
		p, err := g.Draw()
		require.NoError(t, err)
		_, box := find(p, red)
		where := map[string]image.Rectangle{
			"above": {Max: image.Pt(p.Rect.Dx(), box.Min.Y-1)}, "over": {Max: image.Pt(p.Rect.Dx(), box.Min.Y-1)},
			"left":  {Max: image.Pt(box.Min.X-1, p.Rect.Dy())},
			"below": {Min: image.Pt(0, box.Max.Y+1), Max: p.Rect.Max}, "under": {Min: image.Pt(0, box.Max.Y+1), Max: p.Rect.Max},
		}[side]
		require.Greater(t, dark(p, where), 30, side)
		require.Equal(t, box.Dx()*box.Dy()+dark(p, where), dark(p, p.Rect), "%s and nowhere else", side)
	}
}

// Captions and labels of many lines push the rows apart.
func TestGridRowsMakeRoom(t *testing.T) {
	red, blue := color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}
	for _, cell := range []picture.Cell{{Caption: "1\n2\n3\n4\n5"}, {}} {
		first := picture.Row{Cells: []picture.Cell{cell}}
		first.Cells[0].Image = colourImage(16, 16, red)
		if cell.Caption == "" {
			first.Label = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10"
		}
		g := picture.Grid{CellSize: 64, Rows: []picture.Row{first, {Cells: []picture.Cell{{Image: colourImage(16, 16, blue)}}}}}
		p, err := g.Draw()
		require.NoError(t, err)
		_, above := find(p, red)
		_, below := find(p, blue)
		require.Greater(t, below.Min.Y-above.Max.Y, 60)
		require.Equal(t, p.Rect.Max.Y-below.Max.Y, above.Min.Y)
		last := image.Rect(0, below.Min.Y-8, p.Rect.Dx(), below.Min.Y-1)
		require.Zero(t, dark(p, last), "a gap before the next row")
	}
}

func TestGridCells(t *testing.T) {
	grey := color.RGBA{200, 200, 200, 255}
	wide := flat(8, 16, 5, -5, -5) // clamps to red
	keep := make([]float32, 8*16)
	for i := range keep {
		keep[i] = float32(i % 2)
	}
	g := picture.Grid{CellSize: 64, Rows: []picture.Row{
		{Cells: []picture.Cell{{Image: wide}, {}, {Image: wide, Keep: keep}}},
		{Cells: []picture.Cell{{Caption: "no picture"}}},
	}}
	p, err := g.Draw()
	require.NoError(t, err)
	red, _ := find(p, color.RGBA{255, 0, 0, 255})
	masked, _ := find(p, grey)
	require.Equal(t, 64*32*3/2, red, "one whole and half of another, 64×32 each")
	require.InDelta(t, 64*32/2, masked, 40, "and the edges of letters")

	bad := flat(2, 2, 0)
	bad.Pix[1] = float32(math.NaN())
	for want, g := range map[string]picture.Grid{
		"no cells":                   {Title: "empty"},
		"row 1, column 2: picture: ": {Rows: []picture.Row{{Cells: []picture.Cell{{Image: wide}, {Image: bad}}}}},
		"mask of 3 values":           {Rows: []picture.Row{{Cells: []picture.Cell{{Image: wide, Keep: keep[:3]}}}}},
		"cells of 5 pixels":          {CellSize: 5, Rows: g.Rows},
		"megapixels":                 {CellSize: 4096, Rows: append(g.Rows, g.Rows...)},
	} {
		_, err := g.Draw()
		require.ErrorContains(t, err, want)
	}
}
