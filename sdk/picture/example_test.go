package picture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

func ExampleOpen() {
	face, err := picture.Open("../../examples/faces/01.png")
	if err != nil {
		fmt.Println(err)
		return
	}
	small, err := picture.Fit(face, 16, 16, picture.Resize)
	fmt.Println(face.C, face.H, face.W, len(small.Pix), err)
	// Output: 3 64 64 768 <nil>
}

func ExampleDecode() {
	_, err := picture.Decode(strings.NewReader("Dear diary"), "notes.txt")
	fmt.Println(err)
	// Output: notes.txt: not a picture (PNG, JPEG, GIF, BMP, TIFF or WebP expected): save it as PNG with a program that shows it
}

func ExampleFit() {
	m := picture.Image{C: 1, H: 60, W: 80, Pix: make([]float32, 60*80), Name: "a.png"}
	_, err := picture.Fit(m, 64, 64, picture.Exact)
	fmt.Println(err)
	m, err = picture.Fit(m, 64, 64, picture.Crop)
	fmt.Println(m.H, m.W, err)
	// Output:
	// a.png is 80×60, the prior wants 64×64: pass --resize or --crop
	// 64 64 <nil>
}

func ExampleGrid() {
	face, err := picture.Open("../../examples/faces/02.png")
	if err != nil {
		fmt.Println(err)
		return
	}
	small, err := picture.Fit(face, 16, 16, picture.Resize)
	if err != nil {
		fmt.Println(err)
		return
	}
	grid := picture.Grid{
		Title:   "Super-resolution ×4",
		Columns: []string{"Measurement", "Truth"},
		Rows:    []picture.Row{{Cells: []picture.Cell{{Image: small, Caption: "16 × 16"}, {Image: face, Caption: "64 × 64"}}}},
	}
	drawn, err := grid.Draw()
	if err != nil {
		fmt.Println(err)
		return
	}
	folder, err := os.MkdirTemp("", "grid")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	fmt.Println(picture.SavePNG(filepath.Join(folder, "grid.png"), drawn))
	// Output: <nil>
}
